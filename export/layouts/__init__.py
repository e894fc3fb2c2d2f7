"""Layouts: folders as the libraries that run ONNX models expect them, a graph beside its config and tokenizer."""

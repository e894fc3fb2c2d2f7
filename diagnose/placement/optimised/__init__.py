"""The graph after ONNX Runtime's own basic optimisations, which placement is decided on."""

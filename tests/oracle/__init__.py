"""The real ONNX Runtime's CUDA plan of a model, on a machine without a GPU, for tests to compare the forecast with."""

"""Where time goes inside a session: ONNX Runtime's profile by operator, node and layer."""

"""Which values ONNX Runtime copies between host and device, how large they are, and which node is to blame."""

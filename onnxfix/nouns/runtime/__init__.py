"""What an ONNX Runtime release can run: its kernel tables and the devices of this machine."""

"""The corpus: the onnx package's node cases, each diagnosed and repaired, and results held against what they expect."""

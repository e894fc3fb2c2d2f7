"""onnxfix: find out why an ONNX export is slow, wrong or not really quantized, repair the graph, prove the result."""

__version__ = "0.1.0"

"""Models as graphs of onnx_graphsurgeon, for functions that a user wrote over them."""

"""Running a model: ONNX Runtime, torch, torchao, OpenVINO, on what machine, with what energy."""

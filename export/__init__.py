"""torch → ONNX: build the module, run an exporter, verify against torch, record provenance."""

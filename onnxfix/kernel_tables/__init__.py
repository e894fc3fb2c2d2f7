"""Kernel definitions of ONNX Runtime releases, one compressed JSON table a release, read by `nouns.runtime.kernels`."""

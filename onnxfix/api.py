"""The door for Python: one function a job, keywords named as the command line's, results that show themselves.

Each takes a model as a path, an `onnx.ModelProto` or an `onnx_ir.Model`, and raises `OnnxfixError`, which says what to
do next.
"""

from onnxfix.flows.bench.asked import bench
from onnxfix.flows.diagnose import diagnose
from onnxfix.flows.explain import explain
from onnxfix.flows.export import export
from onnxfix.flows.extract import extract
from onnxfix.flows.repair.asked import repair
from onnxfix.flows.repair.fastest.asked import optimize
from onnxfix.flows.session import Session

__all__ = ["Session", "bench", "diagnose", "explain", "export", "extract", "optimize", "repair"]

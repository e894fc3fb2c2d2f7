"""The door for Python: one function a job, keywords named as the command line's, results that show themselves.

Each takes a model as a path, an `onnx.ModelProto` or an `onnx_ir.Model`, and raises `OnnxfixError`, which says what to
do next.
"""

from onnxfix.flows.bench import asked as _bench
from onnxfix.flows.diagnosis.asked import diagnose as _diagnose
from onnxfix.flows.diagnosis.difference.asked import diff as _diff
from onnxfix.flows.diagnosis.every import diagnose_all as _diagnose_all
from onnxfix.flows.doctor import doctor
from onnxfix.flows.explain import explain
from onnxfix.flows.export import export as _export
from onnxfix.flows.extract import extract as _extract
from onnxfix.flows.repair import asked as _repair
from onnxfix.flows.repair.fastest import asked as _fastest
from onnxfix.flows.session import Session
from onnxfix.nouns.runtime.extras import names_extras

bench = names_extras(_bench.bench)
diagnose = names_extras(_diagnose)
diagnose_all = names_extras(_diagnose_all)
diff = names_extras(_diff)
export = names_extras(_export)
extract = names_extras(_extract)
optimize = names_extras(_fastest.optimize)
repair = names_extras(_repair.repair)

__all__ = [
    "Session",
    "bench",
    "diagnose",
    "diagnose_all",
    "diff",
    "doctor",
    "explain",
    "export",
    "extract",
    "optimize",
    "repair",
]

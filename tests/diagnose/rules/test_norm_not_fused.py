"""F006: norms that ONNX Runtime leaves in parts, by their squares and roots, and those that it puts together."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

SITES = ["Reciprocal_i"]
TARGET = "cpu"
WEIGHTS = {"w": np.ones(16, np.float32), "last": np.array([-1]), "eps": np.array(1e-5, np.float32),
           "two": np.array(2, np.float32), "one": np.array(1, np.float32)}  # fmt: skip


def norm(square: str = "Pow(x, two)", root: str = "Reciprocal(r)", element: str = "float") -> Model:
    text = f"""g ({element}[b,16] x) => ({element}[b,16] y) {{ s = {square} v = ReduceMean(s, last) a = Add(v, eps)
        r = Sqrt(a) i = {root} n = Mul(x, i) y = Mul(w, n) }}"""
    kind = np.float16 if element == "float16" else np.float32
    return graphs.model(text, {n: v.astype(kind) if v.dtype == np.float32 else v for n, v in WEIGHTS.items()})


def BAD() -> Model:
    return norm()


def SOUND() -> Model:
    """As torch's older exporter writes it."""
    return norm(root="Div(one, r)")


def found(model: Model, target: str = TARGET) -> list[Finding]:
    return [f for f in diagnose(model, Target.resolve(target)).findings if f.code == "F006"]


@pytest.mark.parametrize(
    ("square", "root", "why"),
    [("Pow(x, two)", "Reciprocal(r)", "Reciprocal of its root"),
     ("Mul(x, x)", "Div(one, r)", "a square written as x · x"),
     ("Mul(x, x)", "Reciprocal(r)", "a square written as x · x and Reciprocal of its root")],
)  # fmt: skip
def test_what_is_not_known_is_named(square: str, root: str, why: str) -> None:
    (finding,) = found(norm(square, root))
    assert finding.severity is Severity.NOTE and finding.repair == "onnxfix optimize"
    assert finding.message == f"the norm stays 7 operators: ONNX Runtime fuses none with {why}"


def test_on_a_gpu_of_onnx_runtime_and_not_where_others_read_the_graph() -> None:
    assert found(norm(), "cuda") and not found(norm(), "tensorrt") and not found(norm(), "openvino")


def test_half_is_told_by_other_rules() -> None:
    assert not found(norm(element="float16"))

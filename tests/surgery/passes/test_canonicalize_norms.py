"""Norms as ONNX Runtime fuses them: each way to write a square and a root, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import onnx
import onnxruntime
import pytest

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.canonicalize_norms import CanonicalizeNorms

PASS = CanonicalizeNorms()
SQUARES = {"pow": "s = Pow(d, two)", "product": "s = Mul(d, d)"}
ENDS = {
    "quotient": "r = Sqrt(a) n = Div(d, r)",
    "one over": "r = Sqrt(a) i = Div(one, r) n = Mul(d, i)",
    "reciprocal": "r = Sqrt(a) i = Reciprocal(r) n = Mul(d, i)",
    "reciprocal first": "r = Sqrt(a) i = Reciprocal(r) n = Mul(i, d)",
    "power": "i = Pow(a, minus_half) n = Mul(d, i)",
    "power of a half": "r = Pow(a, half) n = Div(d, r)",
    "one over a power": "r = Pow(a, half) i = Reciprocal(r) n = Mul(d, i)",
}
NUMBERS = """float two = {2.0}, float one = {1.0}, float half = {0.5}, float minus_half = {-0.5}, float eps = {0.00001},
    int64[1] last = {-1}"""


def norm(square: str, end: str, centred: bool = False, weight: str = "y = Mul(w, n)") -> Model:
    centre = "mu = ReduceMean(x, last) d = Sub(x, mu)" if centred else "d = Identity(x)"
    text = f"""g (float[b,s,64] x) => (float[b,s,64] y) <{NUMBERS}> {{ {centre} {SQUARES[square]}
        v = ReduceMean(s, last) a = Add(v, eps) {ENDS[end]} {weight} }}"""
    if not centred:
        text = text.replace(centre, "").replace("(d, d)", "(x, x)").replace("(d,", "(x,").replace(", d)", ", x)")
    numbers = np.random.default_rng(0)
    rest = {name: numbers.normal(size=64).astype(np.float32) for name in "wc" if f"({name}, " in text}
    return graphs.model(text, rest)


def BAD() -> Model:
    return norm("pow", "reciprocal")


def SOUND() -> Model:
    return norm("pow", "quotient")


def fused(model: Model, folder: Path) -> list[str]:
    """Operators with `Normalization` in their name that ONNX Runtime makes of a graph."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(folder / "optimized.onnx"), 3
    model.save(folder / "norm.onnx")
    onnxruntime.InferenceSession(folder / "norm.onnx", options, providers=["CPUExecutionProvider"])
    made = onnx.load(folder / "optimized.onnx").graph.node
    return [node.op_type for node in made if "Normalization" in node.op_type]


@pytest.mark.parametrize("centred", [False, True], ids=["rms", "layer"])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("square", SQUARES)
def test_every_form_becomes_one_operator(square: str, end: str, centred: bool, tmp_path: Path) -> None:
    model = norm(square, end, centred, "z = Mul(w, n) y = Add(c, z)" if centred else "y = Mul(w, n)")
    known = square == "pow" and end in ("quotient", "one over")
    wanted = ["LayerNormalization" if centred else "SimplifiedLayerNormalization"]
    assert fused(model, tmp_path) == (wanted if known else [])
    feed = {"x": np.random.default_rng(1).normal(size=(2, 3, 64)).astype(np.float32)}
    before = graphs.run(model, feed)["y"]
    assert PASS.measure(model) == (not known)
    outcome = graph_pass.run(PASS, model)
    assert bool(outcome.changes) == (not known) and PASS.measure(model) == 0
    np.testing.assert_allclose(graphs.run(model, feed)["y"], before, rtol=2e-6, atol=1e-6)
    assert fused(model, tmp_path) == wanted


def test_what_reads_the_root_besides_the_norm_keeps_it() -> None:
    model = norm("pow", "reciprocal", weight="z = Mul(w, n) t = Exp(i) y = Add(z, t)")
    graph_pass.run(PASS, model)
    assert [node.op_type for node in model.nodes() if node.op_type == "Reciprocal"] == ["Reciprocal"]


def test_a_square_that_is_no_norm_stays() -> None:
    model = graphs.model("g (float[b,8] x) => (float[b,8] y) { s = Mul(x, x) r = Sqrt(s) y = Reciprocal(r) }")
    assert not graph_pass.run(PASS, model).changes


@pytest.mark.parametrize("end", ["y = Neg(n)", "y = Add(w, n)"])
def test_a_norm_without_weights_stays_as_nothing_fuses_it(end: str, tmp_path: Path) -> None:
    model = norm("product", "reciprocal", weight=end)
    assert not graph_pass.run(PASS, model).changes
    assert fused(norm("pow", "quotient", weight=end), tmp_path) == []


def test_half_stays() -> None:
    text = """g (float16[b,64] x) => (float16[b,64] y) <int64[1] last = {-1}> { s = Mul(x, x) v = ReduceMean(s, last)
        r = Sqrt(v) i = Reciprocal(r) y = Mul(x, i) }"""
    assert not graph_pass.run(PASS, graphs.model(text)).changes

"""Formulas that pass an end of half's range: guards that are 0, shares, exponentials; and nothing else is kept."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

from onnxfix.nouns.target import Target
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.graph_pass import run
from onnxfix.surgery.passes.convert_to_half import ConvertToHalf
from onnxfix.surgery.sites.half import formulas

W = {
    "eps": np.float32(1e-9),
    "fine": np.float32(1e-3),
    "half": np.float32(-0.5),
    "axis": np.array([1]),
    "one": np.float32(1),
}
HEAD = "g (float[n,4] x, float[n,4] u) => (float[n,4] y) {{ p = Softmax(x) {} }}"
FORMULAS = {
    "a logarithm": ("e = Add(p, eps) l = Log(e) y = Mul(p, l)", {"Log_l"}),
    "a choice": ("b = Less(p, eps) e = Where(b, eps, p) l = Log(e) y = Mul(p, l)", {"Where_e", "Log_l"}),
    "a divisor": ("e = Max(p, eps) y = Div(u, e)", {"Div_y"}),
    "a root that divides": ("e = Add(p, eps) s = Sqrt(e) y = Div(u, s)", {"Sqrt_s", "Div_y"}),
    "an inverse": ("e = Clip(p, eps) r = Reciprocal(e) m = Mul(u, r) y = Tanh(m)", {"Reciprocal_r", "Mul_m"}),
    "a power": ("e = Add(p, eps) r = Pow(e, half) m = Mul(r, u) y = Tanh(m)", {"Pow_r", "Mul_m"}),
    "behind a shape": (
        "s = ReduceMax(p, axis) e = Max(s, eps) z = Expand(e, shape) y = Div(u, z)",
        {"Expand_z", "Div_y"},
    ),
    "a softmax by hand": (
        "e = Exp(u) s = ReduceSum(e, axis) y = Div(e, s)",
        {"Exp_e", "ReduceSum_s", "Div_y"},
    ),
    "a sum of exponentials": (
        "e = Exp(u) s = ReduceSum(e, axis) l = Log(s) y = Add(u, l)",
        {"Exp_e", "ReduceSum_s", "Log_l"},
    ),
    "a softplus": ("e = Exp(u) s = Add(e, one) l = Log(s) y = Neg(l)", {"Exp_e", "Add_s", "Log_l"}),
    "a tangent by hand": (
        "e = Exp(u) v = Neg(u) f = Exp(v) a = Sub(e, f) b = Add(e, f) y = Div(a, b)",
        {"Exp_e", "Exp_f", "Sub_a", "Add_b", "Div_y"},
    ),
    "no guard at all": ("l = Log(p) y = Mul(p, l)", {"Softmax_p", "Log_l"}),
}
PLAIN = {
    "a guard that half holds": "e = Add(p, fine) y = Log(e)",
    "a numerator": "e = Add(p, eps) y = Div(e, u)",
    "a logarithm of a size": "e = Abs(u) y = Log(e)",
    "a sigmoid by hand": "v = Neg(u) e = Exp(v) s = Add(e, one) y = Div(one, s)",
    "a softmax with its largest taken away": """m = ReduceMax(u, axis) d = Sub(u, m) e = Exp(d) s = ReduceSum(e, axis)
        y = Div(e, s)""",
    "a distance": "q = Mul(u, u) v = Neg(q) e = Exp(v) s = ReduceSum(e, axis) y = Div(e, s)",
    "a width": "e = Exp(u) y = Mul(e, p)",
    "a scale": "e = Mul(p, eps) y = Tanh(e)",
}


def found(body: str) -> set[str]:
    model = graphs.model(HEAD.format(body), {**W, "shape": np.array([3, 4])}, opset=18)
    return {node.name for node in formulas.find(model.nodes(), infer(model.ir))}


@pytest.mark.parametrize("case", FORMULAS)
def test_what_reads_a_guard_stays(case: str) -> None:
    body, names = FORMULAS[case]
    assert found(body) == names


@pytest.mark.parametrize("case", PLAIN)
def test_what_reads_none_does_not(case: str) -> None:
    assert found(PLAIN[case]) == set()


@pytest.mark.parametrize("case", ["a softmax by hand", "a sum of exponentials", "a softplus", "a tangent by hand"])
def test_an_exponential_of_thirty_is_no_infinity(case: str) -> None:
    body, _ = FORMULAS[case]
    model = graphs.model(HEAD.format(body), {**W, "shape": np.array([3, 4])}, opset=18)
    feed = {"x": np.zeros((2, 4), np.float32), "u": np.array([[30, -30, 0, 29], [12, 11, 1, -1]], np.float32)}
    wanted = graphs.run(model, feed)["y"]
    run(ConvertToHalf(Target.resolve("cuda"), "fp16"), model)
    assert np.allclose(graphs.run(model, feed)["y"], wanted, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("case", ["a logarithm", "a choice", "no guard at all"])
def test_confident_rows_are_no_infinity(case: str) -> None:
    """As the CPU's own half kernels compute it, on logits 40 apart."""
    body, _ = FORMULAS[case]
    model = graphs.model(HEAD.format(body), {**W, "shape": np.array([3, 4])}, opset=18)
    feed = {"x": np.array([[20, -20, 0, 1], [0, 0, 0, 0]], np.float32), "u": np.ones((2, 4), np.float32)}
    wanted = graphs.run(model, feed)["y"]
    run(ConvertToHalf(Target.resolve("cuda"), "fp16"), model)
    assert np.allclose(graphs.run(model, feed)["y"], wanted, atol=1e-2)

"""Guards that are 0 in half: what reads them is fp32 too, up to a result of size; and nothing else is."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

from onnxfix.nouns.target import Target
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.graph_pass import run
from onnxfix.surgery.passes.convert_to_half import ConvertToHalf
from onnxfix.surgery.sites.half import guards

W = {"eps": np.float32(1e-9), "fine": np.float32(1e-3), "half": np.float32(-0.5), "axis": np.array([1])}
HEAD = "g (float[n,4] x, float[n,4] u) => (float[n,4] y) {{ p = Softmax(x) {} }}"
GUARDED = {
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
    "no guard at all": ("l = Log(p) y = Mul(p, l)", {"Softmax_p", "Log_l"}),
}
PLAIN = {
    "a guard that half holds": "e = Add(p, fine) y = Log(e)",
    "a numerator": "e = Add(p, eps) y = Div(e, u)",
    "a logarithm of a size": "e = Exp(u) y = Log(e)",
    "a scale": "e = Mul(p, eps) y = Tanh(e)",
}


def found(body: str) -> set[str]:
    model = graphs.model(HEAD.format(body), {**W, "shape": np.array([3, 4])}, opset=18)
    return {node.name for node in guards.find(model.nodes(), infer(model.ir))}


@pytest.mark.parametrize("case", GUARDED)
def test_what_reads_a_guard_stays(case: str) -> None:
    body, names = GUARDED[case]
    assert found(body) == names


@pytest.mark.parametrize("case", PLAIN)
def test_what_reads_none_does_not(case: str) -> None:
    assert found(PLAIN[case]) == set()


@pytest.mark.parametrize("case", ["a logarithm", "a choice", "no guard at all"])
def test_confident_rows_are_no_infinity(case: str) -> None:
    """As the CPU's own half kernels compute it, on logits 40 apart."""
    body, _ = GUARDED[case]
    model = graphs.model(HEAD.format(body), {**W, "shape": np.array([3, 4])}, opset=18)
    feed = {"x": np.array([[20, -20, 0, 1], [0, 0, 0, 0]], np.float32), "u": np.ones((2, 4), np.float32)}
    wanted = graphs.run(model, feed)["y"]
    run(ConvertToHalf(Target.resolve("cuda"), "fp16"), model)
    assert np.allclose(graphs.run(model, feed)["y"], wanted, atol=1e-2)

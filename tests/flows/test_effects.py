"""Layers in 8 bits are ranked by what each does to the outputs, however noisy its own result is."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

from onnxfix.eval.inputs.feeds import make_feeds
from onnxfix.flows.repair.search import effects
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.surgery.sites.linear import linears

RNG = np.random.default_rng(0)
# The first reads an outlier, and its result is made small; the second is plain, and a Gemm is all of what is added.
TEXT = """g (float[batch,32] x) => (float[batch,32] y) {
    far = Mul(x, reach) a0 = MatMul(far, w0) a = Mul(a0, little)
    b = MatMul(x, w1)
    c = Gemm<transB = 1>(x, w2, bias)
    s = Add(a, b) y = Add(s, c)
}"""
WEIGHTS = {
    "reach": np.where(np.arange(32) == 3, 100.0, 1.0),
    "little": np.array(1e-4),
    "w0": RNG.normal(size=(32, 32)),
    "w1": RNG.normal(size=(32, 32)),
    "w2": 10 * RNG.normal(size=(32, 32)),
    "bias": np.zeros(32),
}


def model(opset: int = 20) -> Model:
    return graphs.model(TEXT, {name: array.astype(np.float32) for name, array in WEIGHTS.items()}, opset)


def ranked(found: Model, scheme: str = "dynamic", levels: int = 127) -> dict[str, float]:
    nodes = [linear.node for linear in linears.find(found)]
    by_node = effects.ranked(found, nodes, make_feeds(found), scheme, levels)
    return {label(node): effect for node, effect in by_node.items()}


@pytest.mark.parametrize("opset", [13, 20])
def test_what_reaches_the_outputs_counts(opset: int) -> None:
    found = ranked(model(opset))
    assert list(found) == ["Gemm_c", "MatMul_b", "MatMul_a0"]
    assert 0.003 < found["Gemm_c"] < 0.03 and found["MatMul_a0"] < 0.2 * found["MatMul_b"]


def test_the_source_stays_as_it_is() -> None:
    before = model()
    ranked(before)
    assert graphs.op_types(before) == graphs.op_types(model())


def test_weights_alone_and_fewer_levels() -> None:
    rounded, coarse = ranked(model(), "weight-only"), ranked(model(), "weight-only", 7)
    assert rounded["Gemm_c"] < ranked(model())["Gemm_c"] and coarse["Gemm_c"] > 10 * rounded["Gemm_c"]


def test_an_old_operator_set_tells_nothing_and_fails_nowhere() -> None:
    assert ranked(graphs.model("g (float[b,4] x) => (float[b,4] y) { y = MatMul(x, w) }",
                               {"w": np.ones((4, 4), np.float32)}, opset=10)) == {"MatMul_y": 0.0}  # fmt: skip


def test_how_many_are_enough() -> None:
    assert effects.left([3.0, 2.0, 2.0, 1.0], 5.0) == 0
    assert effects.left([3.0, 2.0, 2.0, 1.0], 3.0) == 1  # 4 + 4 + 1 are left
    assert effects.left([3.0, 2.0, 2.0, 1.0], 0.5) == 4

"""Heads: small linears that lead to the model's outputs alone; not the last layer of an encoder, nor a vocabulary."""

import graphs
import numpy as np
import pytest

from onnxfix.surgery.sites import heads, linears

RNG = np.random.default_rng(0)
WEIGHTS = {
    "wide": RNG.normal(size=(64, 256)).astype(np.float32),
    "back": RNG.normal(size=(256, 64)).astype(np.float32),
    "pool": RNG.normal(size=(64, 64)).astype(np.float32),
    "few": RNG.normal(size=(64, 3)).astype(np.float32),
    "many": RNG.normal(size=(64, 300)).astype(np.float32),
    "bias": RNG.normal(size=(3,)).astype(np.float32),
    "scale": np.ones(64, np.float32),
}
BODY = "h = MatMul(x, wide) a = Gelu(h) o = MatMul(a, back) r = Add(x, o) n = LayerNormalization<axis = -1>(r, scale)"


@pytest.mark.parametrize(
    ("end", "found"),
    [
        ("p = MatMul(n, few) z = Add(p, bias) y = Softmax(z)", {"MatMul_p"}),
        ("y = Gemm(n, few, bias)", {"Gemm_y"}),
        ("q = MatMul(n, pool) t = Tanh(q) y = MatMul(t, few)", {"MatMul_y"}),  # and not the pooler
        ("y = Identity(n)", set()),  # an encoder alone: its last product is no head
        ("y = MatMul(n, many)", set()),  # a vocabulary
        ("p = MatMul(n, few) s = ReduceSum(p) y = Mul(n, s)", set()),  # goes on being computed with
    ],
)
def test_heads(end: str, found: set[str]) -> None:
    text = f"g (float[batch,64] x) => (float[batch,k] y) {{ {BODY} {end} }}"
    used = {name: array for name, array in WEIGHTS.items() if f"{name})" in text or f"{name}," in text}
    model = graphs.model(text, used)
    assert {node.name for node in heads.find(linears.find(model))} == found

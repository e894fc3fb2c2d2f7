"""Heads: small linears that lead to the model's outputs alone; not the last layer of an encoder, nor a vocabulary."""

import graphs
import numpy as np
import pytest

from onnxfix.surgery.sites.linear import heads, linears

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
    assert {node.name for node in heads.find(linears.find(model), model.graph)} == found


def test_what_a_body_gives_is_no_output_of_the_model() -> None:
    """Both branches end in a small linear whose result is computed with behind the If."""
    branches = "".join(
        f"{name} = b{i} () => (float[batch,3] e{i}) {{ e{i} = MatMul(n, few) }}, "
        for i, name in enumerate(("then_branch", "else_branch"))
    ).rstrip(", ")
    text = f"""g (float[batch,64] x, bool c) => (float[batch,3] y) {{
        {BODY} i = If (c) <{branches}> a2 = Relu(i) y = Mul(a2, bias)
    }}"""
    model = graphs.model(text, {name: WEIGHTS[name] for name in ("wide", "back", "few", "scale", "bias")})
    assert len(linears.find(model)) == 4
    assert heads.find(linears.find(model), model.graph) == set()


def test_a_model_of_small_linears_alone_has_no_heads() -> None:
    count = 120
    products = " ".join(f"y{i} = MatMul(x, w{i})" for i in range(count))
    outputs = ", ".join(f"float[batch,1] y{i}" for i in range(count))
    arrays = {f"w{i}": RNG.normal(size=(8, 1)).astype(np.float32) for i in range(count)}
    model = graphs.model(f"g (float[batch,8] x) => ({outputs}) {{ {products} }}", arrays)
    assert heads.find(linears.find(model), model.graph) == set()

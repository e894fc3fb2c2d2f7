"""Attention of one operator is written out where products and a Softmax say the same, and put together again."""

from __future__ import annotations

import graphs
import numpy as np
import onnx_ir as ir
import pytest

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.fuse_attention import FuseAttention
from onnxfix.surgery.passes.write_out_attention import WriteOutAttention

PASS = WriteOutAttention()
SELF = """g (float[batch,n,32] x MASK) => (float[batch,n,RESULT] y) {
    q0 = MatMul(x, wq) k0 = MatMul(x, wk) v0 = MatMul(x, wv)
    q1 = Reshape(q0, of_queries) k1 = Reshape(k0, of_keys) v1 = Reshape(v0, of_values)
    q = Transpose<perm = [0, 2, 1, 3]>(q1) k = Transpose<perm = [0, 2, 1, 3]>(k1) v = Transpose<perm = [0, 2, 1, 3]>(v1)
    o = Attention<SAYS>(q, k, v GIVEN)
    t = Transpose<perm = [0, 2, 1, 3]>(o) y = Reshape(t, joined)
}"""
FLAT = """g (float[batch,n,32] x MASK) => (float[batch,n,RESULT] y) {
    q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv)
    y = Attention<q_num_heads = 4, kv_num_heads = KV, SAYS>(q, k, v GIVEN)
}"""
CROSS = """g (float[batch,4,n,8] q, float[batch,KV,keys,8] k, float[batch,KV,keys,SIZE] v MASK)
    => (float[batch,4,n,SIZE] y) { y = Attention<SAYS>(q, k, v GIVEN) }"""
MASKS = {
    "no mask": "",
    "which keys are seen": "bool[batch,1,n,n]",
    "which pairs are seen": "bool[n,n]",
    "what is added": "float[batch,4,n,n]",
}


def attention(
    text: str = SELF, mask: str = "", *, kv: int = 4, size: int = 8, says: str = "scale = 0.3", opset: int = 23
) -> Model:
    for name, what in (("MASK", f", {mask} mask" if mask else ""), ("GIVEN", ", mask" if mask else "")):
        text = text.replace(name, what)
    for name, number in (("KV", kv), ("SIZE", size), ("RESULT", 4 * size)):
        text = text.replace(name, str(number))
    random = np.random.default_rng(1)
    widths = {"wq": 32, "wk": 8 * kv, "wv": size * kv}
    weights = {name: random.normal(size=(32, width)).astype(np.float32) / 6 for name, width in widths.items()}
    sizes = {
        "of_queries": [0, 0, 4, 8],
        "of_keys": [0, 0, kv, 8],
        "of_values": [0, 0, kv, size],
        "joined": [0, 0, 4 * size],
    }
    shapes = {name: np.array(shape) for name, shape in sizes.items()}
    used = {name: array for name, array in (weights | shapes).items() if f" {name})" in text}
    return graphs.model(text.replace("SAYS", says), used, opset=opset)


def BAD() -> Model:
    return attention(mask=MASKS["which keys are seen"])


def SOUND() -> Model:
    """Scores that are capped are not written out."""
    return attention(mask=MASKS["which keys are seen"], says="softcap = 5.0")


def feed(model: Model, batch: int = 2, n: int = 5, keys: int = 7) -> dict[str, np.ndarray]:
    random, sizes = np.random.default_rng(3), {"batch": batch, "n": n, "keys": keys}
    made = {}
    for value in model.graph.inputs:
        assert value.shape is not None and value.name is not None
        drawn = random.normal(size=[k if isinstance(k, int) else sizes[str(k)] for k in value.shape])
        made[value.name] = drawn > 0.2 if value.dtype == ir.DataType.BOOL else drawn.astype(np.float32)
    return made


def same(source: Model, result: Model, given: dict[str, np.ndarray]) -> None:
    expected, actual = (graphs.run(model, given)["y"] for model in (source, result))
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-6)


def written_out(source: Model) -> Model:
    result = source.clone()
    graph_pass.run(PASS, result)
    assert "Attention" not in graphs.op_types(result) and graphs.op_types(result).count("Softmax") == 1
    return result


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(
    ("text", "kv", "size", "says"),
    [
        (SELF, 4, 8, "is_causal = 0"), (SELF, 1, 6, "scale = 0.7"), (SELF, 2, 8, "is_causal = 1"),
        (FLAT, 2, 5, "is_causal = 0"),
    ],
    ids=["as many heads", "keys shared by all", "causal by pairs", "joined heads"],
)  # fmt: skip
def test_the_same_in_products(text: str, kv: int, size: int, says: str, mask: str) -> None:
    """Rows that see nothing among them, and written together again but for those."""
    source = attention(text, MASKS[mask], kv=kv, size=size, says=says)
    if "is_causal = 1" in says and mask == "what is added":
        assert not graph_pass.run(PASS, source).changes, "nothing would put two masks' numbers together again"
        return
    result = written_out(source)
    for batch, n in ((2, 5), (1, 1), (3, 6)):
        same(source, result, feed(source, batch, n))
    graph_pass.run(FuseAttention(), result)
    assert "Softmax" not in graphs.op_types(result), "what is written out can be put together"
    same(source, result, feed(source))


@pytest.mark.parametrize("says", ["is_causal = 1", "is_causal = 0"])
def test_keys_of_another_length_than_queries(says: str) -> None:
    source = attention(CROSS, kv=2, says=says)
    result = written_out(source)
    for n, keys in ((5, 7), (6, 2), (1, 3)):
        same(source, result, feed(source, 2, n, keys))


@pytest.mark.parametrize("lowest", [-np.inf, np.finfo(np.float32).min, -1e9])
def test_a_row_that_sees_nothing(lowest: float) -> None:
    """Zeros where the mask is as low as a float can be, else a mean, as the operator has it."""
    source = attention(mask=MASKS["what is added"])
    given = feed(source)
    given["mask"] = np.where(given["mask"] > 0, 0, lowest).astype(np.float32)
    given["mask"][1] = lowest
    zeros = graphs.run(source, given)["y"][1] == 0
    assert zeros.all() == (lowest < -1e30)
    same(source, written_out(source), given)


PAST = """g (float[batch,4,n,8] q, float[batch,4,keys,8] k, float[batch,4,keys,8] v, float[batch,4,past,8] pk,
    float[batch,4,past,8] pv) => (float[batch,4,n,8] y) { y = Attention(q, k, v, , pk, pv) }"""
APPENDED = """g (float[batch,4,n,8] q, float[batch,4,past,8] pk, float[batch,4,n,8] new) =>
    (float[batch,4,n,8] y) { k = Concat<axis = 2>(pk, new) y = Attention(q, k, k) }"""
SCORES = """g (float[batch,4,n,8] q, float[batch,4,n,8] k) => (float[batch,4,n,8] y, float[batch,4,n,n] scores) {
    y, , , scores = Attention(q, k, k) }"""
STAYS = {
    "capped": lambda: attention(says="softcap = 5.0"),
    "with a cache": lambda: graphs.model(PAST, opset=23),
    "behind a cache": lambda: graphs.model(APPENDED, opset=23),
    "in half": lambda: attention(CROSS.replace("float[", "float16[")),
    "a mask of fewer keys": lambda: attention(CROSS.replace("keys", "7"), "bool[n,5]", opset=24),
    "of other tokens": lambda: attention(CROSS, "bool[n,keys]"),
    "with its scores": lambda: graphs.model(SCORES, opset=23),
}


@pytest.mark.parametrize("what", STAYS)
def test_what_products_do_not_say_stays(what: str) -> None:
    source = STAYS[what]()
    assert "Attention" in graphs.op_types(source)
    assert not graph_pass.run(PASS, source).changes

"""FLOPs of products, counted here by hand."""

from __future__ import annotations

from typing import Any

import graphs
import numpy as np
import pytest

from onnxfix.diagnose.placement.shapes.flops import flops
from onnxfix.diagnose.report import headline
from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Flops, Sizes
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.quantize_dynamic import QuantizeDynamic

CPU = Target.resolve("cpu")
RNG = np.random.default_rng(0)
ATTENTION = """g (float[batch,sequence,16] x) => (float[batch,sequence,16] y) {
    q0 = MatMul(x, wq) k0 = MatMul(x, wk) v0 = MatMul(x, wv)
    q1 = Reshape(q0, heads) k1 = Reshape(k0, heads) v1 = Reshape(v0, heads)
    q = Transpose<perm = [0, 2, 1, 3]>(q1) k = Transpose<perm = [0, 2, 3, 1]>(k1)
    v = Transpose<perm = [0, 2, 1, 3]>(v1)
    scores = MatMul(q, k) p = Softmax(scores) c0 = MatMul(p, v)
    c1 = Transpose<perm = [0, 2, 1, 3]>(c0) c = Reshape(c1, whole) y = MatMul(c, wo)
}"""
WEIGHTS: dict[str, Any] = {name: RNG.normal(size=(16, 16)).astype(np.float32) for name in ("wq", "wk", "wv", "wo")}
WEIGHTS |= {"heads": np.array([0, 0, 4, 4]), "whole": np.array([0, 0, 16])}


def attention() -> Model:
    return graphs.model(ATTENTION, WEIGHTS)


def counted(text: str, weights: dict[str, Any] | None = None, sizes: Sizes | None = None) -> Flops | None:
    model = graphs.model(text, weights, opset=21)
    return flops(model.ir, sizes or Sizes(2, 10), {})


def share(model: Model, sizes: Sizes) -> object:
    return diagnose(model, CPU, sizes=sizes).quantization["flops_share"]


def test_attention_counted_by_hand() -> None:
    """3 rows of 7 tokens: four linears of 16 × 16, and two products of 4 heads of 7 × 7 × 4."""
    linears, products = 4 * 2 * 3 * 7 * 16 * 16, 2 * 2 * 3 * 4 * 7 * 7 * 4
    assert (linears, products) == (43_008, 9_408)
    assert flops(attention().ir, Sizes(3, 7), {}) == Flops(linears + products, 0)
    quantized = attention()
    graph_pass.run(QuantizeDynamic(), quantized)
    assert share(attention(), Sizes(3, 7)) == 0.0
    assert share(quantized, Sizes(3, 7)) == round(linears / (linears + products), 4) == 0.8205


def test_the_longer_the_texts_the_smaller_the_share() -> None:
    quantized = attention()
    graph_pass.run(QuantizeDynamic(), quantized)
    linears, products = 4 * 2 * 64 * 512 * 16 * 16, 2 * 2 * 64 * 4 * 512 * 512 * 4
    report = diagnose(quantized, CPU)
    assert report.quantization["flops_share"] == round(linears / (linears + products), 4) == 0.0588
    assert headline.linears(report).endswith("; 6 % of FLOPs in a batch of 64 × 512 tokens")


CASES = {
    "Gemm": ("g (float[n,8] x) => (float[n,4] y) { y = Gemm<transB = 1>(x, w) }", {"w": (4, 8)}, 2 * 2 * 8 * 4),
    "a transposed left operand": ("g (float[8,n] x) => (float[m,4] y) { y = Gemm<transA = 1>(x, w) }", {"w": (8, 4)},
                                  2 * 10 * 8 * 4),
    "Conv in groups": ("g (float[n,4,9,9] x) => (float[n,6,7,7] y) { y = Conv<group = 2>(x, w) }", {"w": (6, 2, 3, 3)},
                       2 * 2 * 6 * 7 * 7 * 2 * 3 * 3),
    "ConvTranspose": ("g (float[n,4,5] x) => (float[n,6,7] y) { y = ConvTranspose(x, w) }", {"w": (4, 6, 3)},
                      2 * 2 * 4 * 5 * 6 * 3),
    "Einsum": ("g (float[n,s,8] x) => (float[n,s,4] y) { y = Einsum<equation = \"bsd,de->bse\">(x, w) }", {"w": (8, 4)},
               2 * 2 * 10 * 8 * 4),
    "contributed attention": ("g (float[n,s,8] x) => (float[n,s,8] y) "
                              "{ y = com.microsoft.Attention<num_heads = 2>(x, w, b) }", {"w": (8, 24), "b": (24,)},
                              2 * 2 * 10 * 8 * 24 + 2 * 2 * 2 * 10 * 10 * 8),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_products_counted_by_hand(name: str) -> None:
    text, shapes, expected = CASES[name]
    weights = {key: np.ones(shape, np.float32) for key, shape in shapes.items()}
    found = counted(text, weights)
    assert found == Flops(expected, 0)


def test_a_dequantized_weight_counts_and_a_dequantized_activation_alone_does_not() -> None:
    text = """g (float[n,8] x, uint8[n,8] q) => (float[n,4] a, float[n,4] b) {
        d = DequantizeLinear(q, s) e = DequantizeLinear(v, s) a = MatMul(x, e) b = MatMul(d, w) }"""
    weights = {"s": np.float32(0.1), "v": np.ones((8, 4), np.int8), "w": np.ones((8, 4), np.float32)}
    assert counted(text, weights) == Flops(2 * 2 * 2 * 8 * 4, 2 * 2 * 8 * 4)


def test_a_body_counts_once() -> None:
    text = """g (float[n,8] x, int64 times, bool c) => (float[n,8] y) {
        y = Loop(times, c, x) <body = b (int64 i, bool go, float[n,8] h) => (bool more, float[n,8] k)
            { more = Identity(go) k0 = MatMul(h, w) k1 = MatMul(x, w) k = Add(k0, k1) }> }"""
    assert counted(text, {"w": np.ones((8, 8), np.float32)}) is None  # what a loop carries has no shape of its own
    inner = text.replace("k0 = MatMul(h, w) k1", "k0 = Identity(h) k1")
    assert counted(inner, {"w": np.ones((8, 8), np.float32)}) == Flops(2 * 2 * 8 * 8, 0)


def test_what_is_not_known_is_none_and_not_a_guess() -> None:
    text = "g (float[n,8] x, int64[r] to) => (float[a,4] y) { h = Reshape(x, to) y = MatMul(h, w) }"
    assert counted(text, {"w": np.ones((8, 4), np.float32)}) is None
    report = diagnose(graphs.model(text, {"w": np.ones((8, 4), np.float32)}), CPU)
    assert report.quantization["flops_share"] is None and headline.flops(report) == ""


def test_a_model_without_products_has_a_share_of_nothing() -> None:
    assert share(graphs.model("g (float[n,8] x) => (float[n,8] y) { y = Relu(x) }"), Sizes()) == 0.0


def test_sizes_computed_in_the_graph_are_followed() -> None:
    """As the TorchScript exporter writes them: a slice in the middle of an axis that the graph measures."""
    text = """g (float[n,s,8] x) => (float[n,s,h] y) {
        shape = Shape(x) last = Gather<axis = 0>(shape, two) half = Div(last, two)
        start = Unsqueeze(half, zero) h = Slice(x, start, big, minus) y = MatMul(h, w) }"""
    weights: dict[str, Any] = {"two": np.array(2), "zero": np.array([0]), "big": np.array([1 << 62])}
    weights |= {"minus": np.array([-1]), "w": np.ones((4, 3), np.float32)}
    assert counted(text, weights) == Flops(2 * 2 * 10 * 4 * 3, 0)


def test_an_attention_without_heads_is_not_counted() -> None:
    text = """g (float[1,4,8] x) => (float[1,4,8] y) { y = com.microsoft.MultiHeadAttention<num_heads = 0>(x, x, x) }"""
    assert diagnose(graphs.model(text), CPU).quantization["flops_share"] is None
    assert counted(text.replace("= 0>", "= 2>")) == Flops(2 * 2 * 4 * 4 * 8, 0)


def test_an_einsum_of_one_operand_is_no_product() -> None:
    """It turns axes or adds up, whatever it reads."""
    assert counted('g (float[2,3] x) => (float[3,2] y) { y = Einsum<equation = "ij->ji">(x) }') == Flops(0, 0)
    two = 'g (float[2,3] x) => (float[2,4] y) { y = Einsum<equation = "ij,jk->ik">(x, w) }'
    assert counted(two, {"w": np.ones((3, 4), np.float32)}) == Flops(2 * 2 * 3 * 4, 0)

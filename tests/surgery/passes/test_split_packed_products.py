"""A product whose result is cut becomes a product a part, of the same numbers; one that is read whole stays."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import pytest

import onnxfix
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.surgery import graph_pass
from onnxfix.surgery.int8.quantizer import Selection
from onnxfix.surgery.passes.split_packed_products import SplitPackedProducts

PASS = SplitPackedProducts()
RNG = np.random.default_rng(0)
WEIGHTS = {"w": RNG.normal(size=(8, 24)).astype(np.float32), "bias": RNG.normal(size=24).astype(np.float32)}
HEAD = "g (float[batch,sequence,8] x) => (float[batch,sequence,m] y) {"
NUMBERS = (
    "zero = Constant<value_ints = [0]>() one = Constant<value_ints = [1]>() two = Constant<value_ints = [2]>() "
    "three = Constant<value_ints = [3]>() axis = Constant<value_ints = [2]>() "
)
HEADS = "p = MatMul(x, w) lead = Shape<end = 2>(x) parts = Constant<value_ints = [3, 2, 4]>() "
JOIN = "eight = Constant<value_ints = [0, 0, 8]>() "
CUT = {
    "a gate and what it gates": "p = MatMul(x, w) a, b = Split<axis = -1, num_outputs = 2>(p) y = Mul(a, b)",
    "with a bias, in parts of unlike sizes": (
        "p = MatMul(x, w) h = Add(bias, p) n = Constant<value_ints = [8, 16]>() "
        "a, b = Split<axis = 2>(h, n) s = Sigmoid(a) c = Concat<axis = 2>(a, s) y = Mul(b, c)"
    ),
    "queries, keys and values by Slices": (
        f"{HEADS} shape = Concat<axis = 0>(lead, parts) h = Reshape(p, shape) "
        "q = Slice(h, zero, one, axis) k = Slice(h, one, two, axis) v = Slice(h, two, three, axis) "
        f"s = Mul(q, k) t = Sub(s, v) {JOIN} y = Reshape(t, eight)"
    ),
    "turned, one index each": (
        f"{HEADS} shape = Constant<value_ints = [0, 0, 3, 2, 4]>() h = Reshape(p, shape) "
        "t = Transpose<perm = [2, 0, 3, 1, 4]>(h) "
        "i = Constant<value_int = 0>() j = Constant<value_int = 1>() k = Constant<value_int = -1>() "
        "q = Gather(t, i) r = Gather(t, j) v = Gather(t, k) s = Mul(q, r) u = Sub(s, v) "
        f"n = Transpose<perm = [0, 2, 1, 3]>(u) {JOIN} y = Reshape(n, eight)"
    ),
    "a part that nobody reads": "p = MatMul(x, w) a, b, c = Split<axis = 2, num_outputs = 3>(p) y = Add(a, c)",
}
WHOLE = {
    "all of it is read, too": (
        "p = MatMul(x, w) a, b = Split<axis = -1, num_outputs = 2>(p) m = Mul(a, b) "
        "c = Concat<axis = 2>(m, m) y = Add(p, c)"
    ),
    "rows are cut, and no columns": (
        "p = MatMul(x, w) a = Slice(p, zero, one, one) b = Slice(p, one, two, one) y = Add(a, b)"
    ),
    "heads and sizes are mixed": (
        "p = MatMul(x, w) s = Constant<value_ints = [0, -1, 4]>() h = Reshape(p, s) "
        "four = Constant<value_ints = [4]>() a = Slice(h, zero, two, axis) b = Slice(h, two, four, axis) y = Mul(a, b)"
    ),
    "the weight is another's as well": (
        "p = MatMul(x, w) r = MatMul(x, w) a, b = Split<axis = -1, num_outputs = 2>(p) m = Mul(a, b) "
        "c = Concat<axis = 2>(m, m) y = Add(r, c)"
    ),
    "nothing is cut": "p = MatMul(x, w) y = Sigmoid(p)",
}


def made(text: str) -> Model:
    return graphs.model(f"{HEAD} {NUMBERS} {text} }}", WEIGHTS)


def BAD() -> Model:
    return made(CUT["queries, keys and values by Slices"])


def SOUND() -> Model:
    return made(WHOLE["all of it is read, too"])


@pytest.mark.parametrize("kind", CUT)
def test_each_part_is_what_was_cut_out(kind: str) -> None:
    source, after = made(CUT[kind]), made(CUT[kind])
    assert PASS.measure(after) == 1 and graph_pass.run(PASS, after).changes and PASS.measure(after) == 0
    ops = graphs.op_types(after)
    assert ops.count("MatMul") == (3 if "queries" in kind or "turned" in kind else 2) and "Split" not in ops
    assert sum(v.const_value.size for v in after.graph.initializers.values() if "w_of" in (v.name or "")) <= 8 * 24
    for shape in ((1, 1, 8), (3, 5, 8)):
        feed = {"x": RNG.normal(size=shape).astype(np.float32)}
        np.testing.assert_allclose(graphs.run(after, feed)["y"], graphs.run(source, feed)["y"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", WHOLE)
def test_what_is_read_otherwise_stays(kind: str) -> None:
    after = made(WHOLE[kind])
    before = after.fingerprint()
    assert PASS.measure(after) == 0 and not graph_pass.run(PASS, after).changes and after.fingerprint() == before


def test_what_stays_in_float_stays_whole_under_its_name() -> None:
    after = BAD()
    (product,) = (node for node in after.nodes() if node.op_type == "MatMul")
    kept = SplitPackedProducts(Selection(blocked=(label(product),)))
    assert kept.measure(after) == 0 and not graph_pass.run(kept, after).changes


def test_a_layer_that_is_named_stays_in_float_in_a_repair(tmp_path: Path) -> None:
    path = BAD().save(tmp_path / "model.onnx")
    (product,) = (node for node in BAD().nodes() if node.op_type == "MatMul")
    how = {"target": "cpu", "int8": "dynamic", "fuse_attention": True, "quantize_heads": True, "max_error": 1.0}
    assert onnxfix.repair(path, **how, dry_run=True).linears() == ("0 of 1", "3 of 3")
    with pytest.raises(OnnxfixError, match=r"nothing|no linear"):
        onnxfix.repair(path, **how, block_node=[label(product)], dry_run=True)

"""The contract of every conversion: it adds no copy on the GPU, and integers that pass through floats stay exact.

fp16, bf16, widening to fp32 and int8, over graphs that compute with integers as floats: lengths, sizes, positions,
indices. They are run beyond 2,048, where fp16 begins to round integers, with every node rounded to its type.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import graphs
import numpy as np
import pytest

from onnxfix.diagnose.placement.forecast import forecast
from onnxfix.eval.numerics.emulator import emulated
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.graph_pass import run
from onnxfix.surgery.passes.widen_to_fp32 import WidenToFp32
from onnxfix.surgery.recipes import Wish, planned, recipe

Array = np.ndarray[Any, Any]
CUDA, CPU = Target.resolve("cuda"), Target.resolve("cpu")
RNG = np.random.default_rng(0)
WISHES = {
    "fp16": Wish(CUDA, "fp16"),
    "bf16": Wish(CUDA, "bf16"),
    "int8-dynamic": Wish(CPU, "fp32", int8="dynamic", heads=True),
    "int8-weight-only": Wish(CUDA, "fp32", int8="weight-only", heads=True),
}
CONVERSIONS = [*WISHES, "widened"]
WEIGHTS = {
    "w": RNG.normal(0, 0.3, (4, 3, 1, 1)).astype(np.float32),
    "square": (np.eye(32) + RNG.normal(0, 0.02, (32, 32))).astype(np.float32),
    "table": RNG.normal(size=(9000, 32)).astype(np.float32),
    "zero": np.array(0, np.float32),
    "numbers": np.arange(5000, dtype=np.float32),
    "number": np.array(4097, np.float32),
    "places": np.array(5000),
    "off_on": np.array([0, 1], np.float32),
    "half": np.array(0.5, np.float32),
    "one": np.array(1, np.float32),
    "ones": np.ones(2, np.float32),
    "small": np.array(2**-13, np.float32),
    "i1": np.array(1),
    "i3": np.array(3),
    "v0": np.array([0]),
    "v1": np.array([1]),
    "v2": np.array([2]),
    "v4": np.array([4]),
    "threshold": np.array([0.5], np.float32),
}
ANCHORS = """c = Conv(x, w) s = Shape(c) n = Gather(s, i3) f = Cast<to = 1>(n) r = Range(zero, f, one)
    a = Add(r, half) k = Mul(a, small)"""


class Case(NamedTuple):
    """A graph, and what it is fed."""

    text: str
    feed: Mapping[str, Array]


def image(width: int) -> Array:
    return RNG.normal(size=(1, 3, 1, width)).astype(np.float32)


def rows(length: int) -> Array:
    return RNG.normal(size=(1, length, 32)).astype(np.float32)


CASES = {
    "range of a length": Case(
        f"g (float[b,3,h,w] x) => (float[b,4,h,w] y) {{ {ANCHORS} y = Add(c, k) }}", {"x": image(4097)}
    ),
    "range in a branch": Case(
        f"""g (float[b,3,h,w] x, bool t) => (float[b,4,h,w] y) {{ y = If (t) <
            then_branch = t () => (float[b,4,h,w] p) {{ {ANCHORS} p = Add(c, k) }},
            else_branch = e () => (float[b,4,h,w] q) {{ q = Conv(x, w) }} > }}""",
        {"x": image(4097), "t": np.array(True)},
    ),
    "range in a loop": Case(
        f"""g (float[b,3,h,w] x, int64 t) => (float[o,b,4,h,w] y) <bool go = {{1}}> {{ y = Loop (t, go) <
            body = l (int64 i, bool c0) => (bool c1, float[b,4,h,w] p) {{ {ANCHORS} p = Add(c, k) c1 = Identity(c0) }}
            > }}""",
        {"x": image(4097), "t": np.array(2)},
    ),
    "range in a function": Case(
        f"""<ir_version: 9, opset_import: ["" : 17, "local" : 1]>
        g (float[b,3,h,w] x) => (float[b,4,h,w] y) {{ y = local.anchors(x, w, i3, zero, one, half, small) }}
        <domain: "local", opset_import: ["" : 17]>
        anchors (x, w, i3, zero, one, half, small) => (y) {{ {ANCHORS} y = Add(c, k) }}""",
        {"x": image(4097)},
    ),
    "scales of a resize": Case(
        """g (float[b,3,h,w] x, float[b,3,k,l] z) => (float[b,4,p,q] y) { c = Conv(x, w) s = Shape(c) t = Shape(z)
            sf = Cast<to = 1>(s) tf = Cast<to = 1>(t) d = Div(tf, sf) e = Slice(d, v2, v4)
            o = Concat<axis = 0>(ones, e) y = Resize<mode = "nearest">(c, , o) }""",
        {"x": image(4097), "z": image(2049)},
    ),
    "sizes of a resize": Case(
        """g (float[b,3,h,w] x) => (float[b,4,p,q] y) <float two = {2}> { c = Conv(x, w) s = Shape(c)
            e = Slice(s, v2, v4) f = Cast<to = 1>(e) d = Mul(f, two) l = Floor(d) k = Cast<to = 7>(l)
            m = Slice(s, v0, v2) o = Concat<axis = 0>(m, k) y = Resize<mode = "nearest">(c, , , o) }""",
        {"x": image(2049)},
    ),
    "index": Case(
        """g (int64[n] ids) => (float[n,32] y) { f = Cast<to = 1>(ids) m = Mul(f, one) k = Cast<to = 7>(m)
            e = Gather(table, k) y = MatMul(e, square) }""",
        {"ids": np.array([2047, 2049, 8191])},
    ),
    "a table of numbers": Case(
        """g (int64[n] ids, float[n,32] x) => (bool[n] e, int64[n] k, float[n,32] y) { t = Gather(numbers, ids)
            e = Equal(t, number) k = Cast<to = 7>(t) y = MatMul(x, square) }""",
        {"ids": np.array([4097, 4096, 2049]), "x": rows(3)[0]},
    ),
    "a place": Case(
        """g (int64[n] ids, float[n,32] x) => (int64[n] k, float[n,32] y) { o = OneHot<axis = -1>(ids, places, off_on)
            m = Mul(o, numbers) s = ReduceSum<keepdims = 0>(m, v1) k = Cast<to = 7>(s) y = MatMul(x, square) }""",
        {"ids": np.array([4097, 4096, 2049]), "x": rows(3)[0]},
    ),
    "positions": Case(
        """g (int64[b,s] ids, float[b,s,32] x) => (float[b,s,32] y) { f = Cast<to = 1>(ids) u = Unsqueeze(f, v2)
            m = Mul(u, small) h = MatMul(x, square) y = Add(h, m) }""",
        {"ids": np.arange(2047, 2053)[None], "x": rows(6)},
    ),
    "comparison of positions": Case(
        """g (int64[b,s] ids, int64[b,1] n, float[b,s,32] x) => (float[b,s,32] y, bool[b,s] k) {
            f = Cast<to = 1>(ids) m = Cast<to = 1>(n) k = Less(f, m) h = MatMul(x, square) u = Unsqueeze(k, v2)
            y = Where(u, h, zero) }""",
        {"ids": np.arange(4096, 4102)[None], "n": np.array([[4099]]), "x": rows(6)},
    ),
    "k of a TopK": Case(
        """g (float[b,s,32] x) => (float[b,k,32] y, int64[d] k) { h = MatMul(x, square) s = Shape(h) n = Gather(s, v1)
            f = Cast<to = 1>(n) d = Mul(f, half) l = Ceil(d) k = Cast<to = 7>(l) y, i = TopK<axis = 1>(h, k) }""",
        {"x": rows(4098)},
    ),
    "boxes": Case(
        """g (float[1,n,4] b, float[1,c,n] x) => (int64[m,3] y) { h = Sigmoid(x) a = Abs(b) s = Shape(h)
            n = Gather(s, v2) f = Cast<to = 1>(n) t = Div(one, f) y = NonMaxSuppression(a, h, n, threshold, t) }""",
        {"b": RNG.uniform(0, 4000, (1, 2050, 4)).astype(np.float32), "x": np.ones((1, 1, 2050), np.float32)},
    ),
    "scale of a width": Case(
        """g (float[b,s,32] x) => (float[b,s,s] y) { h = MatMul(x, square) s = Shape(h) n = Gather(s, v2)
            f = Cast<to = 1>(n) q = Sqrt(f) r = Div(one, q) k = Mul(h, r) t = Transpose<perm = [0, 2, 1]>(k)
            y = MatMul(k, t) }""",
        {"x": rows(5)},
    ),
    "length as an output": Case(
        """g (float[b,s,32] x) => (float[b,s,32] y, float n) { y = MatMul(x, square) s = Shape(y) k = Gather(s, i1)
            n = Cast<to = 1>(k) }""",
        {"x": rows(4097)},
    ),
    "division by a size": Case(
        """g (float[b,s,32] x) => (float[b,s,32] y) { h = MatMul(x, square) s = Size(h) f = Cast<to = 1>(s)
            q = Div(one, f) r = Sqrt(q) y = Mul(h, r) }""",
        {"x": rows(2053)},
    ),
    "masked mean": Case(
        """g (float[b,s,32] x, int64[b,s] m) => (float[b,32] y) <float tiny = {1e-9}> { h = MatMul(x, square)
            u = Unsqueeze(m, v2) f = Cast<to = 1>(u) k = Mul(h, f) s = ReduceSum<keepdims = 0>(k, v1)
            c = ReduceSum<keepdims = 0>(f, v1) d = Clip(c, tiny) y = Div(s, d) }""",
        {"x": np.abs(rows(4097)) + 20, "m": np.ones((1, 4097), np.int64)},
    ),
}


def made(name: str) -> Model:
    text = CASES[name].text
    used = {key: value for key, value in WEIGHTS.items() if key in text.replace("(", " ").replace(",", " ")}
    return graphs.model(text, used, opset=17, ir_version=9)


@functools.cache
def before(name: str, half: bool) -> Plan:
    return forecast(converted(name, "fp16") if half else made(name), CUDA)


@functools.cache
def converted(name: str, how: str) -> Model:
    """The graph after a conversion; `widened` is fp32 again after fp16."""
    source = made(name)
    if how == "widened":
        result = converted(name, "fp16").clone()
        run(WidenToFp32(), result)
        return result
    result, _ = recipe(WISHES[how], source).apply(source)
    result, _ = planned(WISHES[how], lambda model: forecast(model, CUDA)).apply(result)
    assert infer(result.ir).conflicts == []
    return result


@pytest.mark.parametrize("how", CONVERSIONS)
@pytest.mark.parametrize("name", CASES)
def test_a_conversion_adds_no_copy(name: str, how: str) -> None:
    """On the GPU; integer products of dynamic int8 are for the CPU, which copies nothing."""
    if WISHES.get(how) is not None and WISHES[how].target is CPU:
        assert forecast(converted(name, how), CPU).copies == ()
        return
    plan, source = forecast(converted(name, how), CUDA), before(name, how == "widened")
    assert not plan.load_error and not plan.failures
    assert len(plan.copies) <= len(source.copies), [copy.value for copy in plan.copies]


@pytest.mark.parametrize("how", CONVERSIONS)
@pytest.mark.parametrize("name", CASES)
def test_a_conversion_loses_no_integer(name: str, how: str) -> None:
    """Shapes and integers are equal, and floats as near as the type is."""
    feed = CASES[name].feed
    expected, found = graphs.run(made(name), feed), graphs.run(emulated(converted(name, how)), feed)
    for key, value in expected.items():
        assert found[key].shape == value.shape
        if value.dtype.kind in "ib" or value.size == 1:
            assert np.array_equal(found[key], value), key
        else:
            assert graphs.rel_l2(value, found[key]) < (2e-3 if how in ("fp16", "widened") else 2e-2), key

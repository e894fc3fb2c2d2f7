"""Shape values that a CUDA node reads as data: made there by Range, the same bits, no copy left."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

from onnxfix.diagnose.placement.forecast import forecast
from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.make_shape_values_on_device import MakeShapeValuesOnDevice

CUDA = Target.resolve("cuda", "forecast")


def plan(model: Model) -> Plan:
    return forecast(model, CUDA)


PASS = MakeShapeValuesOnDevice(plan, CUDA.table)
ONE = {"zero": np.array(0), "one": np.array(1)}
IDS = np.arange(12, dtype=np.int64).reshape(3, 4)
X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


def BAD() -> Model:
    """The flat index of the legacy exporter's attention mask: batch index x sequence length."""
    return graphs.model(
        """g (float[b,s] x) => (float[b,s] y) { shape = Shape(x) n = Gather<axis = 0>(shape, zero)
        l = Gather<axis = 0>(shape, one) r = Range(zero, n, one) m = Mul(r, l) c = Unsqueeze(m, last)
        f = Cast<to = 1>(c) e = Exp(x) y = Add(e, f) }""",
        {**ONE, "last": np.array([1])},
    )


def SOUND() -> Model:
    return graphs.model(
        """g (float[b,s] x) => (float[n] y) { shape = Shape(x) t = ReduceProd<keepdims = 1>(shape) e = Exp(x)
        y = Reshape(e, t) }"""
    )


CASES = {
    "a float computed from a shape": """{ n = Size(x) f = Cast<to = 1>(n) q = Sqrt(f) e = Exp(x) y = Div(e, q) }""",
    "a float that adding 1 does not change": """{ n = Size(x) f = Cast<to = 1>(n) q = Mul(f, huge) e = Exp(x)
        y = Div(e, q) }""",
    "a negative float": """{ n = Size(x) f = Cast<to = 1>(n) q = Neg(f) e = Exp(x) y = Div(e, q) }""",
    "a half cast from a shape": """{ n = Size(x) f = Cast<to = 10>(n) e = Exp(x) h = Cast<to = 10>(e) d = Div(h, f)
        y = Cast<to = 1>(d) }""",
    "all sizes, as a vector": """{ shape = Shape(x) f = Cast<to = 1>(shape) p = Pad(f, ends) w = Cast<to = 1>(p)
        e = Exp(x) y = Add(e, w) }""",
    "a vector of one": """{ shape = Shape<end = 1>(x) f = Cast<to = 1>(shape) e = Exp(x) y = Add(e, f) }""",
    "the result of Shape itself": """{ shape = Shape(x) b = Mul(shape, large) k = ReduceMax<keepdims = 0>(b)
        f = Cast<to = 1>(k) e = Exp(x) y = Add(e, f) }""",
    "read on both sides": """{ shape = Shape(x) n = Gather<axis = 0>(shape, zero) k = Unsqueeze(n, front)
        t = Concat<axis = 0>(k, minus) r = Reshape(x, t) e = Exp(r) i = Cast<to = 1>(n) y = Mul(e, i) }""",
    "inside a body": """{ n = Size(x) c = Greater(n, zero) e = Exp(x)
        y = If(c) <then_branch = t () => (float[b,s] p) { k = Size(e) f = Cast<to = 1>(k) o = Neg(e) p = Mul(o, f) },
                   else_branch = u () => (float[b,s] q) { q = Neg(e) }> }""",
}
WEIGHTS = {
    **ONE,
    "huge": np.array(1e30, np.float32),
    "large": np.ones((101, 2), np.int64),
    "ends": np.array([0, 2]),
    "front": np.array([0]),
    "minus": np.array([-1]),
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_copied_and_no_bit_changes(name: str) -> None:
    model = graphs.model(f"g (float[b,4] x) => (float[k,l] y) {CASES[name]}", WEIGHTS)
    before, expected = plan(model), graphs.run(model, {"x": X})
    assert before.copies and not before.load_error
    outcome = graph_pass.run(PASS, model)
    assert outcome.changes and plan(model).copies == ()
    for level in ("none", "all"):
        assert np.array_equal(graphs.run(model, {"x": X}, level)["y"], expected["y"])


def test_an_input_that_a_shape_drags_to_the_host_stays_on_the_device() -> None:
    model = graphs.model(
        """g (int64[b,s] ids) => (int64[b,s] y, int64[b,s] z) { shape = Shape(ids) n = Gather<axis = 0>(shape, zero)
        m = Mul(ids, n) k = Add(m, n) y = Neg(k) z = Neg(ids) }""",
        ONE,
    )
    before, expected = plan(model), graphs.run(model, {"ids": IDS})
    assert {c.value for c in before.copies} >= {"ids"} and max(c.nbytes or 0 for c in before.copies) > 200_000
    graph_pass.run(PASS, model)
    after = plan(model)
    assert after.copies == () and {n.provider[:4] for n in after.nodes if n.op_type in ("Mul", "Neg")} == {"CUDA"}
    actual = graphs.run(model, {"ids": IDS})
    assert all(np.array_equal(actual[name], expected[name]) for name in expected)


def test_a_copy_with_another_cause_is_left_alone() -> None:
    model = graphs.model("g (float[b,8] x) => (float[b,8] y) { h = Relu(x) t = Tan(h) y = Exp(t) }")
    assert len(plan(model).copies) == 2
    assert not graph_pass.run(PASS, model).changes


def test_before_opset_11_there_is_no_range() -> None:
    model = graphs.model(
        "g (float[b,8] x) => (float[b,8] y) { n = Size(x) f = Cast<to = 1>(n) e = Exp(x) y = Div(e, f) }", opset=10
    )
    assert plan(model).copies and not graph_pass.run(PASS, model).changes


@pytest.mark.parametrize(
    "number",
    [
        "i = Sub(n, four) c = Cast<to = 1>(i) v = Log(c)",
        "c = Cast<to = 1>(n) z = Sub(c, c) v = Div(c, z)",
        "b = Greater(n, four) v = Where(b, smallest, largest)",
    ],
    ids=["NaN or minus infinity", "infinity", "the largest and smallest floats"],
)
@pytest.mark.parametrize("rows", [1, 2, 4, 9])
def test_floats_that_are_not_finite_or_at_the_end_of_their_range(number: str, rows: int) -> None:
    model = graphs.model(
        f"""g (float[b,4] x) => (float[b,4] y) {{ s = Shape(x) n = Gather<axis = 0>(s, zero) {number}
        e = Exp(x) m = Max(e, v) y = Neg(m) }}""",
        {
            **ONE,
            "four": np.array(4),
            "smallest": np.array(-3.4028235e38, np.float32),
            "largest": np.array(3.4028235e38, np.float32),
        },
    )
    feed = {"x": np.ones((rows, 4), np.float32)}
    assert plan(model).copies
    expected = graphs.run(model, feed)["y"]
    graph_pass.run(PASS, model)
    assert plan(model).copies == ()
    assert np.array_equal(graphs.run(model, feed)["y"], expected, equal_nan=True)


@pytest.mark.parametrize(("limit", "copies"), [(2**63 - 1, 1), (-(2**63), 1), (0, 0)])
def test_integers_at_the_end_of_their_range_are_left_alone(limit: int, copies: int) -> None:
    model = graphs.model(
        """g (int64[b] x) => (int64[b] y) { n = Size(x) b = Greater(n, four) v = Where(b, n, limit) d = Neg(x)
        m = Max(d, v) y = Abs(m) }""",
        {"four": np.array(4), "limit": np.array(limit)},
    )
    feed = {"x": np.arange(3)}
    assert plan(model).copies
    expected = graphs.run(model, feed)["y"]
    graph_pass.run(PASS, model)
    assert len(plan(model).copies) == copies and np.array_equal(graphs.run(model, feed)["y"], expected)


def test_nodes_without_names_are_found() -> None:
    model = graphs.model(
        """g (int64[b,s] ids) => (int64[b,s] y, int64[b,s] z) { shape = Shape(ids) n = Gather<axis = 0>(shape, zero)
        m = Mul(ids, n) y = Neg(m) z = Neg(ids) }""",
        ONE,
    )
    proto = graphs.proto_of(model)
    for node in proto.graph.node:
        node.name = ""
    unnamed = graphs.opened(proto)
    assert plan(unnamed).copies
    graph_pass.run(PASS, unnamed)
    assert plan(unnamed).copies == ()


def test_branches_that_use_one_name_for_two_values_are_left_alone() -> None:
    model = graphs.model("""g (float[b,4] x, bool c) => (float[k,l] y) { n = Size(x)
        y = If(c) <then_branch = t () => (float[b,4] p) { f = Cast<to = 1>(n) q = Sqrt(f) p = Mul(x, q) },
                   else_branch = e () => (float[b,4] r) { f = Cast<to = 1>(n) q = Neg(f) r = Mul(x, q) }> }""")
    feed = {"x": X, "c": np.array(False)}
    expected = graphs.run(model, feed)["y"]
    graph_pass.run(PASS, model)
    assert np.array_equal(graphs.run(model, feed)["y"], expected)

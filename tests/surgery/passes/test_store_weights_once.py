"""Equal matrices become one."""

import graphs
import numpy as np
import onnx

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.store_weights_once import StoreWeightsOnce

PASS = StoreWeightsOnce()
SQUARE = np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32)
SQUARE[5, 5] = np.nan
WEIGHTS = {"w": SQUARE, "turned": SQUARE.T.copy(), "again": SQUARE, "turned_too": SQUARE.T.copy(), "other": -SQUARE}


def BAD() -> Model:
    """Equal, transposed, transposed again, and one that is neither."""
    return graphs.model(
        """g (float[n,40] x) => (float[n,40] y) {
        a = MatMul(x, w)
        b = MatMul(a, turned)
        c = MatMul(b, again)
        d = MatMul(c, turned_too)
        y = MatMul(d, other)
    }""",
        WEIGHTS,
    )


def SOUND() -> Model:
    return graphs.model("g (float[n,40] x) => (float[n,40] y) { y = MatMul(x, w) }", {"w": SQUARE})


def test_one_is_left_and_one_transpose() -> None:
    model = BAD()
    graph_pass.run(PASS, model)
    assert sorted(model.graph.initializers) == ["other", "w"]
    assert graphs.op_types(model).count("Transpose") == 1


def test_a_weight_that_is_an_output_stays() -> None:
    text = "g (float[n,40] x) => (float[n,40] y, float[40,40] v) { a = MatMul(x, w)  y = MatMul(a, v) }"
    assert not graph_pass.run(PASS, graphs.model(text, {"w": SQUARE, "v": SQUARE})).changes


def test_a_copy_in_a_branch_goes_and_one_in_each_branch_stays() -> None:
    text = """g (float[n,40] x, bool c) => (float[n,40] y) {
        a = MatMul(x, w)
        y = If (c) <
            then_branch = t () => (float[n,40] p) { p = MatMul(a, inner) },
            else_branch = e () => (float[n,40] q) { q = MatMul(a, other) }
        >
    }"""
    proto = graphs.proto(text, {"w": WEIGHTS["other"]})
    for branch, name, array in zip(proto.graph.node[1].attribute, ("inner", "other"), (-SQUARE.T, SQUARE), strict=True):
        branch.g.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
    model = graphs.opened(proto)
    feed = {"x": np.ones((2, 40), np.float32), "c": np.array(True)}
    wanted = graphs.run(model, feed)["y"]
    graph_pass.run(PASS, model)
    assert [sorted(graph.initializers) for graph in model.graphs()] == [["w"], [], ["other"]]
    np.testing.assert_array_equal(graphs.run(model, feed)["y"], wanted)

"""CastLike → Cast: the type that it names, saturation kept, and the shape chain that it carried on."""

import graphs
import numpy as np
import pytest
from provider_names import CUDA

from onnxfix.diagnose.placement.forecast import forecast
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.cast_like_to_cast import CastLikeToCast

PASS = CastLikeToCast()


def BAD() -> Model:
    """An activation cast to the type of a shape value: through that second input the shape chain takes it along."""
    return graphs.model(
        """g (float[b,8] x) => (int64[b,8] y) { n = Size(x) e = Exp(x) f = CastLike(e, n) m = Mul(f, n)
        y = Neg(m) }"""
    )


def SOUND() -> Model:
    return graphs.model("g (float[b,8] x, int64[b,8] n) => (float[b,8] y) { f = Cast<to = 1>(n) y = Mul(x, f) }")


def test_fewer_nodes_leave_the_gpu() -> None:
    target, model = Target.resolve("cuda", "forecast"), BAD()
    before = [n.name for n in forecast(model, target).nodes if n.provider != CUDA]
    graph_pass.run(PASS, model)
    after = [n.name for n in forecast(model, target).nodes if n.provider != CUDA]
    assert set(before) == {"Mul_m", "Neg_y"} and after == []


@pytest.mark.parametrize(("like", "number"), [("float", 1), ("float16", 10), ("int32", 6), ("bool", 9), ("double", 11)])
def test_the_type_is_that_of_the_second_input(like: str, number: int) -> None:
    model = graphs.model(f"g (float[3] x, {like}[1] t) => ({like}[3] y) {{ y = CastLike(x, t) }}")
    graph_pass.run(PASS, model)
    (node,) = model.nodes()
    assert node.op_type == "Cast" and node.attributes["to"].as_int() == number and len(node.inputs) == 1


def test_saturation_is_kept() -> None:
    text = "g (float[3] x, float8e4m3fn[1] t) => (float8e4m3fn[3] y) { y = CastLike<saturate = 0>(x, t) }"
    model = graphs.model(text)
    graph_pass.run(PASS, model)
    (node,) = model.nodes()
    assert node.attributes["saturate"].as_int() == 0


def test_an_unknown_type_is_left_alone() -> None:
    model = graphs.model("g (float[3] x) => (float[3] y) { t = acme.Odd(x) y = CastLike(x, t) }")
    assert not graph_pass.run(PASS, model).changes


def test_bits_stay() -> None:
    model = graphs.model("g (float[n] x, int32[1] t) => (int32[n] y) { y = CastLike(x, t) }")
    feed = {"x": np.array([1.5, -2.5, 1e6], np.float32), "t": np.zeros(1, np.int32)}
    expected = graphs.run(model, feed)["y"]
    graph_pass.run(PASS, model)
    assert np.array_equal(graphs.run(model, feed)["y"], expected)

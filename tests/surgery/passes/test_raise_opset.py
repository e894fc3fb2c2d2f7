"""A model in an old operator set is written in a newer one, with the same answer."""

import graphs
import numpy as np
import onnx
import pytest
from encoder_graphs import MLP, encoder

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.quantize_static import QuantizeStatic
from onnxfix.surgery.passes.raise_opset import RaiseOpset, has_attention
from onnxfix.surgery.recipes import Wish, recipe
from onnxfix.surgery.sites.linear import linears

PASS = RaiseOpset()
RNG = np.random.default_rng(0)
WEIGHT = {"w": RNG.normal(size=(8, 8)).astype(np.float32)}
FEED = {"x": RNG.normal(size=(4, 8)).astype(np.float32)}
# the axes of both are attributes until operator set 13
OLD = """g (float[batch,8] x) => (float[batch,1,8] y) {
    h = MatMul(x, w)
    s = ReduceSum<axes = [1], keepdims = 1>(h)
    z = Add(h, s)
    y = Unsqueeze<axes = [1]>(z)
}"""
NEW = OLD.replace("ReduceSum<axes = [1], keepdims = 1>(h)", "ReduceSum<keepdims = 1>(h, one)").replace(
    "Unsqueeze<axes = [1]>(z)", "Unsqueeze(z, one)"
)


def BAD() -> Model:
    return graphs.model(OLD, WEIGHT, 11)


def SOUND() -> Model:
    return graphs.model(NEW, WEIGHT | {"one": np.array([1])}, 13)


def test_static_int8_of_an_old_model() -> None:
    model = BAD()
    wish = Wish(Target.resolve("cpu"), "fp32", int8="static", inputs=(FEED,), heads=True)
    result, _ = recipe(wish, model).apply(model)
    assert model.opset == 11 and result.opset == 13
    assert [x.quantized for x in linears.find(result)] == [True]
    wanted = graphs.run(model, FEED)["y"]
    assert graphs.rel_l2(wanted, graphs.run(result, FEED)["y"]) < 2e-2


def test_what_the_converter_does_not_know_stays_as_it_is_where_that_is_allowed() -> None:
    """FusedConv of ai.onnx is ONNX Runtime's alone."""
    rest = MLP.replace(
        "y = Add(r, d)", "z = Add(r, d) four = Unsqueeze(z, begin) f = FusedConv(four, point) y = Squeeze(f)"
    )
    model = encoder(rest, point=np.ones((1, 1, 1, 1)))
    outcome = graph_pass.run(RaiseOpset(24, "a test", has_attention), model)
    assert model.opset == 20 and not outcome.changes
    assert any(note.startswith("operator set 20 stays: a test needs operator set 24") for note in outcome.notes)
    with pytest.raises(OnnxfixError, match="a test needs operator set 24"):
        graph_pass.run(RaiseOpset(24, "a test"), model)


def test_a_model_without_attention_is_left_alone_where_it_is_for_that() -> None:
    for model, opset in ((graphs.model(OLD, WEIGHT, 11), 11), (encoder(), 24)):
        graph_pass.run(RaiseOpset(24, "a test", has_attention), model)
        assert model.opset == opset


def test_a_new_model_is_left_alone() -> None:
    model = SOUND()
    assert not graph_pass.run(PASS, model).changes
    graph_pass.run(QuantizeStatic((FEED,)), model)
    onnx.checker.check_model(graphs.proto_of(model), full_check=True)

"""Weights that a file lists as inputs become constants; those that somebody chose stay."""

from __future__ import annotations

import graphs
import numpy as np
import onnx
import pytest

from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery.graph_pass import run
from onnxfix.surgery.passes.take_weights_out_of_inputs import TakeWeightsOutOfInputs
from onnxfix.surgery.recipes import Wish, recipe

PASS = TakeWeightsOutOfInputs()
WEIGHTS = {"w": np.eye(8, dtype=np.float32), "b": np.ones(8, np.float32), "limit": np.array(6, np.float32)}
TEXT = "g (float[b,8] x) => (float[b,8] y) { p = MatMul(x, w) s = Add(p, b) y = Min(s, limit) }"


def listing(*names: str, ir_version: int = 10, opset: int = 13) -> Model:
    proto = graphs.proto_of(graphs.model(TEXT, WEIGHTS, opset, ir_version))
    for name in names:
        shape = list(WEIGHTS[name].shape)
        proto.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    return graphs.opened(proto)


def BAD() -> Model:
    return listing("w", "b", "limit", ir_version=3, opset=9)


def SOUND() -> Model:
    return listing()


def inputs(model: Model) -> list[str]:
    return [v.name for v in graphs.proto_of(model).graph.input]


@pytest.mark.parametrize(
    ("listed", "ir_version", "left"),
    [
        (("w", "b", "limit"), 3, ["x"]),
        (("w", "b", "limit"), 10, ["x"]),
        (("w", "b"), 10, ["x"]),  # a scalar that is a constant says nothing of the weights
        (("w",), 10, ["x", "w"]),
        (("limit",), 10, ["x", "limit"]),  # a default that callers set
    ],
)
def test_only_where_all_are_listed(listed: tuple[str, ...], ir_version: int, left: list[str]) -> None:
    model = listing(*listed, ir_version=ir_version)
    outcome = run(PASS, model)
    assert inputs(model) == left
    assert (model.ir.ir_version or 0) >= 4
    onnx.checker.check_model(graphs.proto_of(model), full_check=True)
    assert any("taken out of the inputs" in note for note in outcome.notes) is (left == ["x"])


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_conversion_then_halves_them(precision: str) -> None:
    model = BAD()
    made, _ = recipe(Wish(Target.resolve("cuda"), precision), model).apply(model)
    assert made.weights_bytes * 2 == model.weights_bytes

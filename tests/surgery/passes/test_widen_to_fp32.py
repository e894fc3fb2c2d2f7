"""Models that arrive in half, broken or not, become fp32 with the same weights and the same interface."""

from __future__ import annotations

import graphs
import numpy as np
import onnx
import pytest

from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.convert_to_half import ConvertToHalf
from onnxfix.surgery.passes.drop_idle_casts import DropIdleCasts
from onnxfix.surgery.passes.widen_to_fp32 import WidenToFp32

PASS = WidenToFp32()
RNG = np.random.default_rng(0)
W = RNG.standard_normal((8, 8)).astype(np.float16)


def BAD() -> Model:
    """What onnxconverter-common leaves: a Cast that still says FLOAT, read beside an fp16 value."""
    return graphs.model(
        """g (float16[b,8] x, int64[b] n) => (float16[b,8] y) <int64[1] last = {1}> {
        h = MatMul(x, w)
        f = Cast <to = 1> (n)
        column = Unsqueeze(f, last)
        y = Mul(h, column)
    }""",
        {"w": W},
    )


def SOUND() -> Model:
    return graphs.model("g (float[b,8] x) => (float[b,8] y) { y = MatMul(x, w) }", {"w": W.astype(np.float32)})


def widened(model: Model) -> Model:
    graph_pass.run(PASS, model)
    return model


def test_a_conflict_is_gone_and_the_weights_are_the_same() -> None:
    model = BAD()
    assert infer(model.ir).conflicts
    result = widened(model)
    assert infer(result.ir).conflicts == []
    tensor = result.graph.initializers["w"].const_value
    assert tensor is not None and tensor.numpy().dtype == np.float32
    assert np.array_equal(tensor.numpy().astype(np.float16), W)


def test_inputs_and_outputs_keep_their_types() -> None:
    result = widened(BAD())
    assert [str(v.dtype) for v in (*result.graph.inputs, *result.graph.outputs)] == ["FLOAT16", "INT64", "FLOAT16"]
    x = RNG.standard_normal((3, 8)).astype(np.float16)
    found = graphs.run(result, {"x": x, "n": np.arange(3)})["y"]
    expected = (x.astype(np.float32) @ W.astype(np.float32)) * np.arange(3)[:, None]
    assert found.dtype == np.float16 and np.allclose(found, expected, atol=2e-2)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_converted_again_it_is_half_with_casts_where_types_meet(kind: str) -> None:
    model = graphs.model(f"g ({kind}[b,8] x) => ({kind}[b,8] y) {{ h = Tanh(x) y = Relu(h) }}")
    result = widened(model)
    graph_pass.run(ConvertToHalf(Target.resolve("cuda"), "fp16" if kind == "float16" else "bf16"), result)
    assert infer(result.ir).conflicts == []
    graph_pass.run(DropIdleCasts(), result)
    assert graphs.op_types(result) == ["Tanh", "Relu"]


def test_every_place_that_says_half() -> None:
    model = graphs.model("""g (bool c, int64[n] shape) => (float[k] y) {
        fill = ConstantOfShape <value = float16[1] {16384}> (shape)
        one = Constant <value = float16 {15360}> ()
        ones = Expand(one, shape)
        both = Mul(fill, ones)
        y = Cast <to = 1> (both) }""")
    result = widened(model)
    halves = ("tensor(float16)", "tensor(bfloat16)")
    assert not [v for v, kind in infer(result.ir).of.items() if kind in halves]
    found = graphs.run(result, {"c": np.array(True), "shape": np.array([3])})["y"]
    assert found.tolist() == [2.0, 2.0, 2.0]


def test_bodies_of_control_flow() -> None:
    model = graphs.model(
        """g (bool c, float16[2,8] x) => (float16[2,8] y) { r = If (c) <
            then_branch = t () => (float16[2,8] p) { p = MatMul(x, w) },
            else_branch = e () => (float16[2,8] n) { n = Neg(x) }> y = Tanh(r) }""",
        {"w": W},
    )
    result = widened(model)
    assert infer(result.ir).conflicts == []
    x = RNG.standard_normal((2, 8)).astype(np.float16)
    onnx.checker.check_model(graphs.proto_of(result), full_check=True)
    assert np.allclose(
        graphs.run(result, {"c": np.array(False), "x": x})["y"], np.tanh(-x.astype(np.float32)), atol=2e-3
    )


def test_a_weight_that_the_graph_returns_keeps_its_type() -> None:
    weight = np.arange(4, dtype=np.float16).reshape(2, 2)
    model = graphs.model("g (float16[b,2] x) => (float16[b,2] y, float16[2,2] w) { y = MatMul(x, w) }", {"w": weight})
    graph_pass.run(PASS, model)
    found = graphs.run(model, {"x": np.ones((1, 2), np.float16)})
    assert np.array_equal(found["w"], weight) and found["w"].dtype == np.float16
    assert found["y"].tolist() == [[2, 4]] and infer(model.ir).conflicts == []

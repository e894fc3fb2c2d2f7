"""Static int8: ranges from inputs of any lengths, every linear and nothing else."""

from typing import Any

import graphs
import numpy as np
import onnx_ir as ir
import pytest
from linear_graphs import WEIGHTS, no_linear, two_linears

from onnxfix.eval.run import pair_sums
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.surgery import graph_pass
from onnxfix.surgery.int8.quantizer import ALL, Selection
from onnxfix.surgery.passes.fold_constant_transposes import FoldConstantTransposes
from onnxfix.surgery.passes.quantize_static import QuantizeStatic
from onnxfix.surgery.sites.linear import linears

RNG = np.random.default_rng(0)
# of different lengths, which ONNX Runtime's histogram calibrators refuse together
INPUTS = tuple({"x": RNG.normal(size=(rows, 16)).astype(np.float32)} for rows in (30, 50, 50, 90, 400))
PASS = QuantizeStatic(INPUTS)
BAD, SOUND = two_linears, no_linear


@pytest.mark.parametrize("options", [{}, {"method": "entropy"}, {"method": "percentile"}, {"symmetric": True}])
def test_linears_are_quantized_and_nearly_right(options: dict[str, Any]) -> None:
    model = BAD()
    graph_pass.run(QuantizeStatic(INPUTS, **options), model)
    assert [x.quantized for x in linears.find(model)] == [True, True]
    feed = INPUTS[-1]
    error = graphs.rel_l2(graphs.run(BAD(), feed)["y"], graphs.run(model, feed)["y"])
    assert 1e-4 < error < (0.1 if options.get("method") == "entropy" else 3e-2)


def test_ranges_are_those_of_the_inputs() -> None:
    """Inputs ten times as large as the calibrated ones are cut off, and not when they were calibrated."""
    large = {"x": INPUTS[-1]["x"] * 10}
    wanted = graphs.run(BAD(), large)["y"]
    errors = []
    for inputs in (INPUTS, (*INPUTS, large)):
        model = BAD()
        graph_pass.run(QuantizeStatic(inputs), model)
        errors.append(graphs.rel_l2(wanted, graphs.run(model, large)["y"]))
    assert errors[0] > 0.5 and errors[1] < 3e-2


def test_blocked_nodes_stay_float_and_inputs_are_needed() -> None:
    model = BAD()
    graph_pass.run(QuantizeStatic(INPUTS, selection=Selection(("Gemm_z",))), model)
    assert [x.quantized for x in linears.find(model)] == [True, False]
    with pytest.raises(OnnxfixError, match="needs inputs"):
        graph_pass.run(QuantizeStatic(), BAD())


def test_inputs_that_the_model_does_not_take_are_an_error() -> None:
    with pytest.raises(OnnxfixError, match="calibration failed"):
        graph_pass.run(QuantizeStatic(({"x": np.zeros((2, 7), np.float32)},)), BAD())


def test_other_readers_of_an_activation_read_it_in_float() -> None:
    """A residual stream through a linear's input: 8 bits are for the product alone."""
    text = """g (float[batch,16] x) => (float[batch,16] y) {
        n = LayerNormalization<axis = -1>(x, scale)
        h = MatMul(n, square)
        y = Add(n, h)
    }"""
    square = WEIGHTS["w"][:, :16] / 1000  # what the product gives, and its noise, is next to nothing
    model = graphs.model(text, {"square": square, "scale": np.ones(16, np.float32)})
    result = model.clone()
    graph_pass.run(PASS, result)
    assert [x.quantized for x in linears.find(result)] == [True]
    assert graphs.rel_l2(graphs.run(model, INPUTS[0])["y"], graphs.run(result, INPUTS[0])["y"]) < 1e-4


SHAPES = {"w": (16, 16), "v": (16, 16), "w1": (16, 16)}
MATRICES = {name: (RNG.normal(size=shape) / 4).astype(np.float32) for name, shape in SHAPES.items()}


def small(body: str, outputs: str = "float[batch,16] y", **more: np.ndarray) -> Any:
    text = f"g (float[batch,16] x) => ({outputs}) {{ {body} }}"
    used = {name: array for name, array in {**MATRICES, **more}.items() if f"{name})" in body or f"{name}," in body}
    return graphs.model(text, used)


def loss(model: Any, output: str = "y", **options: Any) -> float:
    result = model.clone()
    graph_pass.run(QuantizeStatic(INPUTS, selection=Selection(heads=True), **options), result)
    wanted = graphs.run(model, INPUTS[-1])
    return graphs.rel_l2(wanted[output], graphs.run(result, INPUTS[-1])[output])


def test_rounding_of_the_source_stays() -> None:
    """Fake quantization: taking it away would be another model."""
    pair = {"sc": np.array(0.25, np.float32), "zp": np.array(128, np.uint8), "two": np.array(2, np.float32)}
    body = """h = Tanh(x) q = QuantizeLinear(h, sc, zp) d = DequantizeLinear(q, sc, zp)
        r = Mul(d, two) y = MatMul(r, v)"""
    assert loss(small(body, **pair)) < 3e-2


@pytest.mark.parametrize("shape", [(16,), (1, 16), (1,), (), (1, 1)])
@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_a_constant_bias_is_made_a_vector(shape: tuple[int, ...], beta: float) -> None:
    bias = np.asarray(3 * RNG.normal(size=shape), np.float32)
    model = small(f"a = Gemm<beta = {beta}>(x, w, bias) r = Tanh(a) y = MatMul(r, v)", bias=bias)
    result = model.clone()
    graph_pass.run(QuantizeStatic(INPUTS, selection=Selection(heads=True)), result)
    assert [x.quantized for x in linears.find(result)] == [True, True]
    assert loss(model) < 5e-2


def test_any_other_bias_leaves_the_layer_in_float() -> None:
    model = small("b = Relu(x) a = Gemm(x, w, b) r = Tanh(a) y = MatMul(r, v)")
    outcome = graph_pass.run(QuantizeStatic(INPUTS, selection=Selection(heads=True)), model)
    assert [x.quantized for x in linears.find(model)] == [False, True]
    assert any("its bias is no constant vector" in note for note in outcome.notes)


def test_an_output_that_a_linear_reads_is_exact() -> None:
    body = "h = LayerNormalization(x, s) a = MatMul(h, w) r = Relu(a) y = Add(r, h)"
    model = small(body, "float[batch,16] h, float[batch,16] y", s=np.ones(16, np.float32))
    assert loss(model, "h") == 0.0 and 0 < loss(model) < 3e-2


def test_what_one_linear_gives_another_is_rounded_for_that_one_alone() -> None:
    model = small("h = MatMul(x, w1) a = MatMul(h, w) r = Tanh(a) y = Add(r, h)")
    result = model.clone()
    graph_pass.run(QuantizeStatic(INPUTS, selection=Selection(heads=True)), result)
    add = next(node for node in result.nodes() if node.op_type == "Add")
    assert {v.producer().op_type for v in add.inputs} == {"Tanh", "MatMul"}


def test_weights_that_no_kernel_takes_stay_and_take_nobody_with_them() -> None:
    experts = RNG.normal(size=(2, 16, 16)).astype(np.float32)
    text = """g (float[2,5,16] x) => (float[2,5,16] y, float[2,16,5] z) {
        e = MatMul(x, experts) r = Relu(e) y = MatMul(r, w)
        t = Transpose<perm = [0, 2, 1]>(x) z = MatMul(v, t)
    }"""
    model = graphs.model(text, {"experts": experts, "w": MATRICES["w"], "v": MATRICES["v"]})
    feed = {"x": RNG.normal(size=(2, 5, 16)).astype(np.float32)}
    graph_pass.run(QuantizeStatic((feed,), selection=Selection(heads=True)), model)
    found = {x.node.name: x for x in linears.find(model)}
    assert {name for name, x in found.items() if x.quantized} == {"MatMul_y"}
    assert "3 axes" in found["MatMul_e"].reason and "left operand" in found["MatMul_z"].reason


def test_a_table_that_is_the_output_layer_too_is_stored_once() -> None:
    text = """g (int64[n] ids) => (float[n,300] y) {
        e = Gather(t, ids)
        u = Transpose<perm = [1, 0]>(t)
        y = MatMul(e, u)
    }"""
    weights = {"t": np.random.default_rng(5).normal(size=(300, 40)).astype(np.float32)}
    model, feed = graphs.model(text, weights), {"ids": np.arange(300)}
    graph_pass.run(FoldConstantTransposes(ALL), model)
    graph_pass.run(QuantizeStatic((feed,), reduce_range=pair_sums.saturate()), model)
    large = [v.const_value for v in model.graph.initializers.values() if v.const_value.size >= 300 * 40]
    assert [(t.dtype, t.size) for t in large] == [(ir.DataType.INT8, 300 * 40)]
    wanted, found = (graphs.run(m, feed)["y"] for m in (graphs.model(text, weights), model))
    assert graphs.rel_l2(wanted, found) < 3e-2

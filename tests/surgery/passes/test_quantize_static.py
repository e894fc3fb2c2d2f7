"""Static int8: ranges from inputs of any lengths, every linear and nothing else."""

from typing import Any

import graphs
import numpy as np
import pytest
from linear_graphs import WEIGHTS, no_linear, two_linears

from onnxfix.errors import OnnxfixError
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.quantize_static import QuantizeStatic
from onnxfix.surgery.quantizer import Selection
from onnxfix.surgery.sites import linears

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

"""Static int8: ranges from inputs of any lengths, every linear and nothing else."""

from typing import Any

import graphs
import numpy as np
import pytest

from onnxfix.errors import OnnxfixError
from onnxfix.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.quantize_static import QuantizeStatic
from onnxfix.surgery.sites import linears

RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.normal(size=(16, 32)).astype(np.float32),
    "v": RNG.normal(size=(8, 32)).astype(np.float32),
    "bias": RNG.normal(size=(8,)).astype(np.float32),
}
# of different lengths, which ONNX Runtime's histogram calibrators refuse together
INPUTS = tuple({"x": RNG.normal(size=(rows, 16)).astype(np.float32)} for rows in (3, 5, 5, 9, 40))
PASS = QuantizeStatic(INPUTS)


def BAD() -> Model:
    return graphs.model(
        """g (float[batch,16] x) => (float[batch,batch] y) {
        h = MatMul(x, w)
        z = Gemm<transB = 1>(h, v, bias)
        t = Transpose<perm = [1, 0]>(z)
        y = MatMul(z, t)
    }""",
        WEIGHTS,
    )


def SOUND() -> Model:
    """A product of activations only: nothing to quantize."""
    return graphs.model("""g (float[batch,16] x) => (float[batch,batch] y) {
        t = Transpose<perm = [1, 0]>(x)
        y = MatMul(x, t)
    }""")


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
    graph_pass.run(QuantizeStatic(INPUTS, blocked=("Gemm_z",)), model)
    assert [x.quantized for x in linears.find(model)] == [True, False]
    with pytest.raises(OnnxfixError, match="needs inputs"):
        graph_pass.run(QuantizeStatic(), BAD())


def test_inputs_that_the_model_does_not_take_are_an_error() -> None:
    with pytest.raises(OnnxfixError, match="calibration failed"):
        graph_pass.run(QuantizeStatic(({"x": np.zeros((2, 7), np.float32)},)), BAD())

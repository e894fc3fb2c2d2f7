"""int8 dynamic reaches every linear, whether MatMul or Gemm, and nothing else."""

import graphs
import numpy as np
from linear_graphs import no_linear, two_linears

from onnxfix.eval.run import pair_sums
from onnxfix.surgery import graph_pass
from onnxfix.surgery.int8.quantizer import Selection
from onnxfix.surgery.passes.quantize_dynamic import QuantizeDynamic
from onnxfix.surgery.sites.linear import linears

PASS = QuantizeDynamic()
RNG = np.random.default_rng(0)
BAD, SOUND = two_linears, no_linear


def test_matmul_and_gemm_are_quantized_and_the_rest_is_not() -> None:
    model, narrow = BAD(), pair_sums.saturate()
    graph_pass.run(QuantizeDynamic(reduce_range=narrow), model)
    assert [x.quantized for x in linears.find(model)] == [True, True]
    assert graphs.op_types(model).count("MatMul") == 1, "the product of two activations stays float"
    x = RNG.normal(size=(5, 16)).astype(np.float32)
    assert graphs.rel_l2(graphs.run(BAD(), {"x": x})["y"], graphs.run(model, {"x": x})["y"]) < (
        4e-2 if narrow else 2e-2
    )


def test_blocked_nodes_stay_float() -> None:
    model = BAD()
    graph_pass.run(QuantizeDynamic(selection=Selection(("Gemm_z",))), model)
    assert [x.quantized for x in linears.find(model)] == [True, False]


def test_rotary_frequencies_are_no_linear() -> None:
    """Angles by MatMul: inv_freq (1, 4, 1) @ position (b, 1, s), as many exports write it."""
    text = """g (int64[batch,1,sequence] position) => (float[batch,4,sequence] c) {
        p = Cast<to = 1>(position)
        angle = MatMul(inv_freq, p)
        c = Cos(angle)
    }"""
    model = graphs.model(text, {"inv_freq": np.array([1, 0.1, 0.01, 0.001], np.float32).reshape(1, 4, 1)})
    assert linears.find(model) == []
    assert not graph_pass.run(PASS, model).changes

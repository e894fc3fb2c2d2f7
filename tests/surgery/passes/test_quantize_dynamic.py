"""int8 dynamic reaches every linear, whether MatMul or Gemm, and nothing else."""

import graphs
import numpy as np
import onnx_ir as ir
import pytest
from linear_graphs import no_linear, two_linears

from onnxfix.eval.run import pair_sums
from onnxfix.surgery import graph_pass
from onnxfix.surgery.int8.quantizer import ALL, Selection
from onnxfix.surgery.passes.fold_constant_transposes import FoldConstantTransposes
from onnxfix.surgery.passes.gemm_to_matmul import GemmToMatMul
from onnxfix.surgery.passes.quantize_dynamic import QuantizeDynamic
from onnxfix.surgery.sites.linear import embeddings, linears

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


@pytest.mark.parametrize(
    "text",
    [
        """g (int64[n] ids) => (float[n,700] y) {
            e = Gather(t, ids)
            u = Transpose<perm = [1, 0]>(t)
            y = MatMul(e, u)
        }""",
        """g (int64[n] ids) => (float[n,700] y) {
            u = Transpose(t)
            e = Gather(u, ids)
            y = MatMul(e, t)
        }""",
        """g (int64[n] ids) => (float[n,700] y) {
            i = Identity(t)
            e = Gather(t, ids)
            f = Gather(i, ids)
            s = Add(e, f)
            y = Gemm<transB = 1>(s, t)
        }""",
    ],
)
def test_a_table_that_is_the_output_layer_too_is_stored_once(text: str) -> None:
    table = RNG.normal(size=(700, 40)).astype(np.float32)
    weights = {"t": table.T.copy() if "Gather(u" in text else table}
    model = graphs.model(text, weights)
    for step in (GemmToMatMul(), FoldConstantTransposes(ALL), QuantizeDynamic(reduce_range=pair_sums.saturate())):
        graph_pass.run(step, model)
    large = [v.const_value for v in model.graph.initializers.values() if v.const_value.size >= 700 * 40]
    assert [(t.dtype, t.size) for t in large] == [(ir.DataType.INT8, 700 * 40)]
    assert [x.quantized for x in (*linears.find(model), *embeddings.find(model, at_least=1))][0:2] == [True, True]
    feed = {"ids": RNG.integers(0, 700, 30)}
    wanted, found = (graphs.run(m, feed)["y"] for m in (graphs.model(text, weights), model))
    assert graphs.rel_l2(wanted, found) < 3e-2


def test_gemms_that_share_a_transposed_weight_in_branches_are_right() -> None:
    text = """g (float[n,32] x, bool c) => (float[n,8] y) {
        y = If (c) <
            then_branch = t () => (float[n,8] p) { p = Gemm<transB = 1>(x, w) },
            else_branch = e () => (float[n,8] q) { m = Gemm<transB = 1>(x, w)  q = Neg(m) }
        >
    }"""
    weights = {"w": RNG.normal(size=(8, 32)).astype(np.float32)}
    model = graphs.model(text, weights)
    for step in (GemmToMatMul(), QuantizeDynamic(reduce_range=pair_sums.saturate())):
        graph_pass.run(step, model)
    assert [x.quantized for x in linears.find(model)] == [True, True]
    for c in (True, False):
        feed = {"x": RNG.normal(size=(5, 32)).astype(np.float32), "c": np.array(c)}
        wanted, found = (graphs.run(m, feed)["y"] for m in (graphs.model(text, weights), model))
        assert graphs.rel_l2(wanted, found) < 3e-2

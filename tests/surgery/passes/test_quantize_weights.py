"""Weights in blocks: the operators' own arithmetic in ONNX Runtime is what results are held against."""

import graphs
import numpy as np
import onnx_ir as ir
import pytest

from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.int8 import block_quantization
from onnxfix.surgery.int8.quantizer import Selection
from onnxfix.surgery.passes.gemm_to_matmul import GemmToMatMul
from onnxfix.surgery.passes.quantize_weights import QuantizeWeights
from onnxfix.surgery.sites.linear import linears, table_blocks

CUDA, CPU = Target.resolve("cuda"), Target.resolve("cpu")
PASS = QuantizeWeights(CUDA)
RNG = np.random.default_rng(0)
WEIGHTS = {
    "table": RNG.normal(size=(700, 96)).astype(np.float32),
    "w": RNG.normal(size=(96, 200)).astype(np.float32),
    "v": RNG.normal(size=(200, 32)).astype(np.float32),
}
TEXT = """g (int64[batch,sequence] ids) => (float[batch,sequence,sequence] y) {
    e = Gather(table, ids)
    h = MatMul(e, w)
    z = MatMul(h, v)
    t = Transpose<perm = [0, 2, 1]>(z)
    y = MatMul(z, t)
}"""
IDS = RNG.integers(0, 700, (3, 11))


def BAD() -> Model:
    return graphs.model(TEXT, WEIGHTS)


def SOUND() -> Model:
    """A product of activations, and a table too small to be worth it."""
    text = """g (int64[batch,sequence] ids) => (float[batch,sequence,sequence] y) {
        e = Gather(table, ids)
        t = Transpose<perm = [0, 2, 1]>(e)
        y = MatMul(e, t)
    }"""
    return graphs.model(text, {"table": WEIGHTS["table"][:4]})


@pytest.mark.parametrize("target", [CUDA, CPU])
@pytest.mark.parametrize(("bits", "block", "limit"), [(8, 32, 1.6e-2), (8, 64, 1.8e-2), (8, 128, 2e-2), (4, 32, 0.2)])
def test_linears_and_the_embedding_are_quantized_and_nearly_right(
    target: Target, bits: int, block: int, limit: float
) -> None:
    model = BAD()
    graph_pass.run(QuantizeWeights(target, bits, block), model)
    assert [x.quantized for x in linears.find(model)] == [True, True]
    assert graphs.op_types(model).count("MatMul") == 1 and "Gather" not in graphs.op_types(model)
    error = graphs.rel_l2(graphs.run(BAD(), {"ids": IDS})["y"], graphs.run(model, {"ids": IDS})["y"])
    assert limit / 20 < error < limit
    assert not set(WEIGHTS) & set(model.graph.initializers)


def test_four_bits_take_half_of_eight() -> None:
    sizes = {}
    for bits in (4, 8):
        model = BAD()
        graph_pass.run(QuantizeWeights(CUDA, bits, 32), model)
        sizes[bits] = sum(v.const_value.nbytes for n, v in model.graph.initializers.items() if n.startswith("w_quant"))
    assert sizes[4] * 2 == sizes[8]


def test_blocked_nodes_stay_float() -> None:
    model = BAD()
    blocked = tuple(n.name or "" for n in model.nodes() if n.op_type == "Gather" or n.outputs[0].name == "z")
    graph_pass.run(QuantizeWeights(CUDA, selection=Selection(blocked)), model)
    assert [x.quantized for x in linears.find(model)] == [True, False]
    assert "Gather" in graphs.op_types(model)


def test_a_shared_weight_stays_one() -> None:
    text = """g (float[batch,96] x) => (float[batch,200] y, float[batch,200] z) {
        y = MatMul(x, w)
        r = Relu(x)
        z = MatMul(r, w)
    }"""
    model = graphs.model(text, {"w": WEIGHTS["w"]})
    graph_pass.run(PASS, model)
    assert sorted(model.graph.initializers) == ["w_quantized", "w_scales"]


def test_fp16_weights_keep_fp16_scales_and_activations() -> None:
    text = "g (float16[batch,96] x) => (float16[batch,200] y) { y = MatMul(x, w) }"
    source = graphs.model(text, {"w": WEIGHTS["w"].astype(np.float16)})
    model = source.clone()
    graph_pass.run(QuantizeWeights(CPU), model)
    assert model.graph.initializers["w_scales"].const_value.dtype == ir.DataType.FLOAT16
    x = RNG.normal(size=(5, 96)).astype(np.float16)
    wanted, found = (graphs.run(m, {"x": x})["y"].astype(np.float32) for m in (source, model))
    assert graphs.rel_l2(wanted, found) < 2e-2


def test_a_short_axis_takes_short_blocks() -> None:
    text = "g (float[batch,20] x) => (float[batch,7] y) { y = MatMul(x, w) }"
    model = graphs.model(text, {"w": RNG.normal(size=(20, 7)).astype(np.float32)})
    graph_pass.run(PASS, model)
    node = next(n for n in model.nodes() if n.op_type == "MatMulNBits")
    assert node.attributes["block_size"].as_int() == 32
    assert model.graph.initializers["w_quantized"].const_value.shape.numpy() == (7, 1, 32)


def test_table_blocks_hold_zeros_extremes_and_a_broken_last_block() -> None:
    table = RNG.normal(size=(5000, 40)).astype(np.float32)
    table[7] = 0
    table[8, :3] = 1e4, -1e4, 1e-4
    made = block_quantization.of_table(table, 32)
    whole = (made.packed.astype(np.float32) - 128).reshape(5000, 40) * np.repeat(made.scales, 32, axis=1)[:, :40]
    assert np.array_equal(whole[7], np.zeros(40, np.float32))
    assert np.abs(whole - table).max(axis=1)[8] <= 1e4 / 127 / 2
    assert graphs.rel_l2(table[9:], whole[9:]) < 8e-3


@pytest.mark.parametrize(("width", "block"), [(96, 32), (576, 64), (768, 128), (16, 16), (48, 16), (100, None)])
def test_a_table_takes_blocks_that_divide_its_rows_or_stays(width: int, block: int | None) -> None:
    """Where CUDA's kernel divides the flat index by the block: microsoft/onnxruntime#32663."""
    text = f"g (int64[n] ids) => (float[n,{width}] e) {{ e = Gather(table, ids) }}"
    model = graphs.model(text, {"table": RNG.normal(size=(70000 // width, width)).astype(np.float32)})
    outcome = graph_pass.run(PASS, model)
    found = list(table_blocks.find(model))
    if block is None:
        assert not found and not outcome.changes and "100" in outcome.notes[0]
    else:
        assert found[0].block == block and not found[0].mixes_rows and not found[0].guesses_zero


TIED = {
    "behind a Transpose": """g (int64[n] ids) => (float[n,700] y) {
        e = Gather(t, ids)
        u = Transpose<perm = [1, 0]>(t)
        y = MatMul(e, u)
    }""",
    "looked up behind one": """g (int32[n] ids) => (float[n,700] y) {
        u = Transpose(t)
        e = Gather(u, ids)
        y = MatMul(e, t)
    }""",
    "twice, by a Gemm and in a branch": """g (int64[n] ids, bool c) => (float[n,700] y) {
        i = Identity(t)
        e = Gather(t, ids)
        f = Gather(i, ids)
        s = Add(e, f)
        y = If (c) <
            then_branch = a () => (float[n,700] p) { p = Gemm<transB = 1>(s, t) },
            else_branch = b () => (float[n,700] q) { q = Gemm<transB = 1, alpha = 0.5>(s, t) }
        >
    }""",
}


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("text", TIED.values(), ids=TIED)
def test_a_table_that_is_the_output_layer_too_is_stored_once(text: str, bits: int) -> None:
    table = RNG.normal(size=(700, 96)).astype(np.float32)
    weights = {"t": table.T.copy() if "Gather(u" in text else table}
    model = graphs.model(text, weights)
    graph_pass.run(GemmToMatMul(), model)
    graph_pass.run(QuantizeWeights(CUDA, bits), model)
    assert not {"MatMul", "Gather"} & set(graphs.op_types(model))
    large = [v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value.size >= 700 * 96]
    assert large == [700 * 96], "one table of bytes"
    ids = IDS[0].astype(np.int32 if "int32" in text else np.int64)
    feed = {"ids": ids, **({"c": np.array(False)} if "bool c" in text else {})}
    wanted, found = (graphs.run(m, feed)["y"] for m in (graphs.model(text, weights), model))
    assert graphs.rel_l2(wanted, found) < 1.2e-2
    assert np.allclose(graphs.run(model, feed, "all")["y"], found, rtol=1e-3, atol=1e-3)


def test_a_weight_that_something_else_reads_in_float_stays() -> None:
    text = """g (float[n,96] x) => (float[n,200] y, float[96,200] z) {
        y = MatMul(x, w)
        z = Neg(w)
    }"""
    outcome = graph_pass.run(PASS, model := graphs.model(text, {"w": WEIGHTS["w"]}))
    assert graphs.op_types(model) == ["MatMul", "Neg"] and "Neg" in outcome.notes[0]

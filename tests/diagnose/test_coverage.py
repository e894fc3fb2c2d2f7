"""Coverage of a report: counts, shares and bytes are counted here by hand."""

from __future__ import annotations

from typing import Any

import graphs
import numpy as np
import pytest

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.quantize_dynamic import QuantizeDynamic
from onnxfix.surgery.passes.quantize_weights import QuantizeWeights

CUDA, CPU = Target.resolve("cuda"), Target.resolve("cpu")
RNG = np.random.default_rng(0)
TABLE, WEIGHT = (1024, 64), (64, 32)
TEXT = """g (int64[batch,sequence] ids) => (float[batch,sequence,32] y) {
    e = Gather(table, ids)
    y = MatMul(e, w)
}"""


def model() -> Model:
    weights = {"table": RNG.normal(size=TABLE).astype(np.float32), "w": RNG.normal(size=WEIGHT).astype(np.float32)}
    return graphs.model(TEXT, weights)


def coverage(subject: Model, target: Target) -> dict[str, Any]:
    return dict(diagnose(subject, target).quantization)


def test_nothing_is_quantized_in_a_float_model() -> None:
    found = coverage(model(), CUDA)
    assert (found["linears"], found["embeddings"], found["convolutions"]) == (1, 1, 0)
    assert (found["weight_share"], found["bytes_saved"], found["providers"]) == (0.0, 0, {})
    assert found["skipped"] == [{"node": "MatMul_y", "reason": "float"}]


@pytest.mark.parametrize(("bits", "linear_bytes"), [(8, 64 * 32), (4, 64 * 32 // 2)])
def test_weights_in_blocks_count_scales_and_numbers_not_bytes(bits: int, linear_bytes: int) -> None:
    subject = model()
    graph_pass.run(QuantizeWeights(CUDA, bits, 32), subject)
    found = coverage(subject, CUDA)
    assert (found["quantized"], found["embeddings_quantized"], found["weight_share"]) == (1, 1, 1.0)
    scales, zero_points = 4 * (64 * 32 + 1024 * 64) // 32, 1024 * 64 // 32
    assert found["bytes_saved"] == 4 * (64 * 32 + 1024 * 64) - linear_bytes - 1024 * 64 - scales - zero_points
    provider = "CUDAExecutionProvider"
    assert found["providers"] == {f"MatMulNBits on {provider}": 1, f"GatherBlockQuantized on {provider}": 1}


def test_dynamic_int8_leaves_the_embedding_and_runs_on_the_host() -> None:
    subject = model()
    graph_pass.run(QuantizeDynamic(), subject)
    found = coverage(subject, CUDA)
    assert (found["quantized"], found["embeddings_quantized"]) == (1, 0)
    assert found["weight_share"] == round(64 * 32 / (64 * 32 + 1024 * 64), 4)
    assert found["providers"] == {"MatMulInteger on CPUExecutionProvider": 1}


def test_convolutions_in_float_in_integers_and_between_quantize_nodes() -> None:
    text = """g (float[1,3,8,8] x, uint8[1,3,8,8] q) => (float[1,4,6,6] a, int32[1,4,6,6] b, float[1,4,6,6] c) {
        a = Conv(x, w)
        b = ConvInteger(q, v)
        d = DequantizeLinear(v, scale)
        c = Conv(x, d)
    }"""
    weights = {
        "w": RNG.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "v": RNG.integers(-9, 9, (4, 3, 3, 3)).astype(np.int8),
        "scale": np.array(0.1, np.float32),
    }
    found = coverage(graphs.model(text, weights), CPU)
    assert (found["convolutions"], found["convolutions_quantized"]) == (3, 2)
    assert found["weight_share"] == round(2 / 3, 4)


def test_columns_of_a_table_are_no_embedding() -> None:
    text = "g (int64[n] ids) => (float[1024,n] y) { y = Gather<axis = 1>(table, ids) }"
    subject = graphs.model(text, {"table": RNG.normal(size=TABLE).astype(np.float32)})
    assert coverage(subject, CPU)["embeddings"] == 0


@pytest.mark.parametrize(
    ("target", "activation", "expected"),
    [
        (CPU, "d", "MatMulIntegerToFloat on CPUExecutionProvider"),
        (CPU, "x", "MatMulNBits on CPUExecutionProvider"),
        (CUDA, "x", "MatMulNBits on CUDAExecutionProvider"),
        (CUDA, "d", ""),
    ],
)
def test_what_a_pair_is_fused_into_runs_there(target: Target, activation: str, expected: str) -> None:
    text = f"""g (float[n,8] x) => (float[n,4] y) {{
        q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) e = DequantizeLinear(w, s) y = MatMul({activation}, e)
    }}"""
    weights = {"s": np.array(0.1, np.float32), "z": np.array(3, np.uint8), "w": np.ones((8, 4), np.int8)}
    assert coverage(graphs.model(text, weights), target)["providers"] == ({expected: 1} if expected else {})


def test_integers_that_a_cast_and_a_product_scale_are_quantized() -> None:
    """DequantizeLinear written out, without and with a zero point, the second behind a Transpose."""
    text = """g (float[n,64] x) => (float[n,32] y) {
        f = Cast<to = 1>(q)
        w = Mul(f, s)
        h = MatMul(x, w)
        g = Cast<to = 1>(u)
        z = Cast<to = 1>(zero)
        d = Sub(g, z)
        e = Mul(steps, d)
        t = Transpose<perm = [1, 0]>(e)
        y = MatMul(h, t)
    }"""
    weights = {
        "q": RNG.integers(-127, 128, (64, 96)).astype(np.int8),
        "s": RNG.uniform(0.01, 0.02, (1, 96)).astype(np.float32),
        "u": RNG.integers(0, 256, (32, 96)).astype(np.uint8),
        "zero": RNG.integers(100, 150, (32, 1)).astype(np.uint8),
        "steps": RNG.uniform(0.01, 0.02, (32, 1)).astype(np.float32),
    }
    found = coverage(graphs.model(text, weights), CPU)
    assert (found["linears"], found["quantized"], found["weight_share"]) == (2, 2, 1.0)
    assert found["bytes_saved"] == 3 * (64 * 96 + 32 * 96)
    weights["q"] = weights["q"].astype(np.float32)
    assert coverage(graphs.model(text, weights), CPU)["quantized"] == 1, "a float weight that is scaled is none"


def test_a_table_that_two_read_saves_its_bytes_once() -> None:
    text = """g (int64[n] ids) => (float[n,1024] y) {
        e = Gather(table, ids)
        t = Transpose<perm = [1, 0]>(table)
        y = MatMul(e, t)
    }"""
    subject = graphs.model(text, {"table": RNG.normal(size=TABLE).astype(np.float32)})
    graph_pass.run(QuantizeWeights(CUDA, 8, 32), subject)
    found = coverage(subject, CUDA)
    assert (found["quantized"], found["embeddings_quantized"]) == (1, 1)
    assert found["bytes_saved"] == 3 * 1024 * 64 - (4 + 1) * 1024 * 64 // 32

"""Q003: dynamic int8 on a CUDA target."""

import graphs
import numpy as np

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

SITES = ["DynamicQuantizeLinear_q"]


def BAD() -> Model:
    return graphs.model(
        """g (float[batch,4] x) => (float[batch,2] y) <float scale = {0.1}> {
        q, qs, qz = DynamicQuantizeLinear(x)
        p = MatMulInteger(q, w, qz)
        f = Cast<to = 1>(p)
        s = Mul(qs, scale)
        y = Mul(f, s)
    }""",
        {"w": np.array([[1, 2], [3, 4], [5, 6], [7, 8]], dtype=np.int8)},
    )


def SOUND() -> Model:
    """Weight-only quantization has CUDA kernels."""
    return graphs.model(
        "g (float[batch,32] x) => (float[batch,2] y) "
        "{ y = com.microsoft.MatMulNBits<K = 32, N = 2, bits = 8, block_size = 32>(x, w, scales) }",
        {"w": np.full((2, 1, 32), 130, dtype=np.uint8), "scales": np.full((2, 1), 0.1, dtype=np.float32)},
    )


def test_both_operators_are_counted() -> None:
    (finding,) = [f for f in diagnose(BAD(), Target.resolve("cuda")).findings if f.code == "Q003"]
    assert "MatMulInteger" in finding.message and "DynamicQuantizeLinear" in finding.message


def test_is_silent_for_a_cpu_target() -> None:
    assert "Q003" not in {f.code for f in diagnose(BAD(), Target.resolve("cpu")).findings}


def test_a_dequantized_bias_is_a_note() -> None:
    """A constant of a few bytes, for which no product is computed on the host."""
    text = """g (float[b,4] x) => (float[b,4] y) {
        c = DequantizeLinear(bias, scale)
        y = Add(x, c)
    }"""
    model = graphs.model(text, {"bias": np.arange(4, dtype=np.int32), "scale": np.array(0.1, np.float32)})
    (finding,) = [f for f in diagnose(model, Target.resolve("cuda")).findings if f.code == "Q003"]
    assert finding.severity == "note"

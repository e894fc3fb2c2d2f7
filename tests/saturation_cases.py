"""uint8 × int8 products in every form ONNX Runtime has them, and what 16-bit sums of pairs give, in plain numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import graphs
import numpy as np

from onnxfix.nouns.model import Model

Array = np.ndarray[Any, Any]
K, N = 37, 21
SCALE, OF = np.array(0.05, np.float32), np.array(2.5, np.float32)
RNG = np.random.default_rng(7)
WEIGHT = RNG.integers(-60, 60, (K, N)).astype(np.int8)
WEIGHT[2:12, ::2] = 127  # columns of neighbours that saturate, between columns without any
WEIGHT[20:24, 3] = -128
WEIGHT_SCALES = (RNG.random(N) * 0.02 + 0.005).astype(np.float32)
ZEROS = RNG.integers(-3, 4, N).astype(np.int8)
BIAS = RNG.integers(-9000, 9000, N).astype(np.int32)
FLOAT_BIAS = RNG.standard_normal(N).astype(np.float32)
ZERO = np.array(121, np.uint8)


def pair_sums(activation: Array, weight: Array) -> Array:
    """Σ over pairs of k of clip(a₂ᵢ·w₂ᵢ + a₂ᵢ₊₁·w₂ᵢ₊₁) to int16, one by one."""
    total = np.zeros((*activation.shape[:-1], weight.shape[1]), np.int64)
    wide, weights = activation.astype(np.int64), weight.astype(np.int64)
    for k in range(0, weight.shape[0], 2):
        for column in range(weight.shape[1]):
            pair = wide[..., k : k + 2] @ weights[k : k + 2, column]
            total[..., column] += np.clip(pair, -32_768, 32_767)
    return total


def corrected(activation: Array, zero: int = 0, zeros: Array | int = 0, weight: Array = WEIGHT) -> Array:
    """The same with zero points of activation and weight, which the runtime corrects afterwards."""
    rows = activation.astype(np.int64).sum(axis=-1, keepdims=True)
    columns = weight.astype(np.int64).sum(axis=0)
    wide = np.asarray(zeros, np.int64)
    sums: Array = pair_sums(activation, weight) - zero * columns - rows * wide + len(weight) * zero * wide
    return sums.astype(np.int32)


def requantized(sums: Array, scale: Array) -> Array:
    levels: Array = np.rint(sums.astype(np.float32) * (scale / OF)) + ZERO.astype(np.float32)
    return np.clip(levels, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Case:
    """`expected` computes the output from the bytes that are multiplied; `feed` makes the input from them."""

    text: str
    shape: tuple[int, ...]
    expected: Callable[[Array], Array]
    weights: dict[str, Array]
    feed: Callable[[Array], Array] = lambda activation: activation

    def model(self) -> Model:
        return graphs.model(self.text, self.weights, opset=17, ir_version=8)

    def activation(self, most: int = 255) -> Array:
        """Bytes 0 … most; up to 127 nothing saturates. The first is 255 on a weight of 0: the range stays the same."""
        made = np.random.default_rng(3).integers(0, most + 1, self.shape).astype(np.uint8)
        if "DynamicQuantizeMatMul" in self.text:
            made[..., 0], made[..., 1] = 255, 0
        return made


def _raw(width: int = N) -> dict[str, Array]:
    first = WEIGHT.copy()
    first[:2] = 0
    return {"w": first[:, :width]}


def _scaled(scales: Array = WEIGHT_SCALES) -> dict[str, Array]:
    zeros = np.zeros(np.shape(scales), np.int8)
    return _raw() | {"s": SCALE, "z": ZERO, "ws": scales, "wz": zeros}


def _float(sums: Array, scales: Array = WEIGHT_SCALES, alpha: float | None = None) -> Array:
    left = SCALE if alpha is None else np.float32(alpha) * SCALE
    return sums.astype(np.float32) * (left * scales)


W = _raw()["w"]
BYTES = "(uint8[m,37] x)"
_PAIRS = "d = DequantizeLinear(x, s, z) v = DequantizeLinear<axis = 1>(w, ws, wz)"
_TURNED = "d = DequantizeLinear(x, s, z) v = DequantizeLinear<axis = 0>(w, ws, wz)"


def _integer(activation: Array) -> Array:
    return corrected(activation, int(ZERO), weight=W)


def _gemm_bias() -> Array:
    return np.rint(FLOAT_BIAS / (SCALE * WEIGHT_SCALES)).astype(np.int32)


def _as_int8(activation: Array) -> Array:
    """The float input that a QuantizeLinear to int8 makes the byte minus 128 of."""
    return (activation.astype(np.float32) - 128 + 7) * SCALE


CASES = {
    "MatMulInteger": Case(
        f"g {BYTES} => (int32[m,21] y) {{ y = MatMulInteger(x, w, z) }}", (5, K), _integer, _raw() | {"z": ZERO}
    ),
    "MatMulInteger of one row, without zero points": Case(
        f"g {BYTES} => (int32[m,21] y) {{ y = MatMulInteger(x, w) }}", (1, K), lambda a: corrected(a, weight=W), _raw()
    ),
    "MatMulInteger of a vector": Case(
        "g (uint8[37] x) => (int32[21] y) { y = MatMulInteger(x, w) }", (K,), lambda a: corrected(a, weight=W), _raw()
    ),
    "MatMulInteger with batch dimensions and zero points of columns": Case(
        "g (uint8[a,b,m,37] x) => (int32[a,b,m,21] y) { y = MatMulInteger(x, w, z, wz) }",
        (2, 3, 19, K),
        lambda a: corrected(a, int(ZERO), ZEROS, W),
        _raw() | {"z": ZERO, "wz": ZEROS},
    ),
    "MatMulInteger without rows": Case(
        f"g {BYTES} => (int32[m,21] y) {{ y = MatMulInteger(x, w, z) }}", (0, K), _integer, _raw() | {"z": ZERO}
    ),
    "MatMulIntegerToFloat": Case(
        f"g {BYTES} => (float[m,21] y) {{ y = com.microsoft.MatMulIntegerToFloat(x, w, s, ws, z, wz, b) }}",
        (6, K),
        lambda a: _float(_integer(a)) + FLOAT_BIAS,
        _scaled() | {"b": FLOAT_BIAS},
    ),
    "DynamicQuantizeMatMul": Case(
        "g (float[b,m,37] x) => (float[b,m,21] y) { y = com.microsoft.DynamicQuantizeMatMul(x, w, ws, wz, b) }",
        (2, 4, K),
        lambda a: _float(corrected(a, 128, weight=W)) + FLOAT_BIAS,
        _raw() | {"ws": WEIGHT_SCALES, "wz": np.zeros(N, np.int8), "b": FLOAT_BIAS},
        # from -6.4 to 6.35 in steps of SCALE, which is what the operator measures
        feed=lambda a: ((a.astype(np.float64) - 128) * 0.05).astype(np.float32),
    ),
    "QLinearMatMul": Case(
        "g (uint8[b,m,37] x) => (uint8[b,m,21] y) { y = QLinearMatMul(x, s, z, w, ws, wz, of, z) }",
        (2, 5, K),
        lambda a: requantized(_integer(a), SCALE * WEIGHT_SCALES),
        _scaled() | {"of": OF},
    ),
    "QGemm to float, alpha, transB, int32 bias": Case(
        f"g {BYTES} => (float[m,21] y) {{ y = com.microsoft.QGemm<alpha = 0.7, transB = 1>(x, s, z, w, ws, wz, b) }}",
        (3, K),
        lambda a: _float(_integer(a) + BIAS, alpha=0.7),
        _scaled() | {"w": W.T.copy(), "b": BIAS},
    ),
    "QGemm to uint8, transA": Case(
        "g (uint8[37,m] x) => (uint8[m,21] y) { y = com.microsoft.QGemm<transA = 1>(x, s, z, w, ws, wz, , of, z) }",
        (9, K),
        lambda a: requantized(_integer(a), SCALE * WEIGHT_SCALES),
        _scaled() | {"of": OF},
        feed=lambda a: a.T.copy(),
    ),
    "QDQ MatMul": Case(
        f"g (uint8[b,m,37] x) => (float[b,m,21] y) {{ {_PAIRS} y = MatMul(d, v) }}",
        (2, 3, K),
        lambda a: _float(_integer(a)),
        _scaled(),
    ),
    "QDQ MatMul quantized again": Case(
        f"g {BYTES} => (uint8[m,21] y) {{ {_PAIRS} p = MatMul(d, v) y = QuantizeLinear(p, of, z) }}",
        (5, K),
        lambda a: requantized(_integer(a), SCALE * WEIGHT_SCALES),
        _scaled() | {"of": OF},
    ),
    "QDQ MatMul of a transposed weight": Case(
        f"g {BYTES} => (float[m,21] y) {{ {_TURNED} t = Transpose<perm = [1, 0]>(v) y = MatMul(d, t) }}",
        (5, K),
        lambda a: _float(_integer(a)),
        _scaled() | {"w": W.T.copy()},
    ),
    "QDQ MatMul of an int8 activation": Case(
        "g (float[m,37] f) => (float[m,21] y) { x = QuantizeLinear(f, s, z) " + _PAIRS + " y = MatMul(d, v) }",
        (5, K),
        lambda a: _float(corrected(a, 128 - 7, weight=W)),
        _scaled() | {"z": np.array(-7, np.int8)},
        feed=_as_int8,
    ),
    "QDQ Gemm, transB, int32 bias": Case(
        f"g {BYTES} => (float[m,21] y) {{ {_TURNED} c = DequantizeLinear<axis = 0>(b, bs, bz) "
        "y = Gemm<transB = 1>(d, v, c) }",
        (5, K),
        lambda a: _float(_integer(a) + BIAS),
        _scaled() | {"w": W.T.copy(), "b": BIAS, "bs": SCALE * WEIGHT_SCALES, "bz": np.zeros(N, np.int32)},
    ),
    "QDQ Gemm, float bias, quantized again": Case(
        f"g {BYTES} => (uint8[m,21] y) {{ {_PAIRS} p = Gemm(d, v, b) y = QuantizeLinear(p, of, z) }}",
        (5, K),
        lambda a: requantized(_integer(a) + _gemm_bias(), SCALE * WEIGHT_SCALES),
        _scaled() | {"b": FLOAT_BIAS, "of": OF},
    ),
}

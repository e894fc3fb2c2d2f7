"""Where 16-bit sums of two uint8 × int8 products saturate, as on x86 CPUs without VNNI, and what that costs.

ONNX Runtime's AVX2 and AVX512BW kernels multiply uint8 by int8 with `vpmaddubsw`: the products of the neighbours
k = 2i and 2i + 1 are added in an int16 that saturates, and only then in int32 (mlas/lib/x86_64/QgemmU8X8KernelAvx2.S,
QgemvU8S8KernelAvx2.S; PackedK is 4, and every panel of K starts at a multiple of 4, so that pairs are counted from 0).
Zero points are corrected afterwards: the raw bytes are multiplied. uint8 × uint8 widens both to 16 bits first
(`vpmaddwd`) and int8 × int8 takes another kernel: neither saturates, nor does 8-bit MatMulNBits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .constants import Array

# 255·128 = 32,640 fits into an int16 and 255·129 = 32,895 does not. Weights of unlike signs never add up to more.
LARGEST_SUM = 128
_BLOCK = 1 << 21


@dataclass(frozen=True)
class Pairs:
    """Pairs that can saturate: rows `first` and `first` + 1 of column `column`, both int64 [P], by column."""

    first: Array
    column: Array


def saturating(matrix: Array) -> Pairs:
    """The pairs of a weight, int8 [K, N], whose sum leaves int16 for some activations of 0 … 255."""
    found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for start, sums, _ in _blocks(matrix):
        column, pair = np.nonzero((np.abs(sums) > LARGEST_SUM).T)
        found.append((2 * pair, start + column))
    first, columns = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Pairs(first, columns)


def expected_loss(matrix: Array) -> float:
    """RMS of what saturation loses over the RMS of the product, both over all columns of a weight int8 [K, N].

    Assumes activations that are independent and uniform in 0 … 255, with the zero point 128. That is a bad case:
    normally distributed ones (128 ± 30) lose 2 to 6 times less. For w₀, w₁ of one sign, a limit T and the most that a
    pair can exceed it, M = 255·|w₀ + w₁| − T, what exceeds it is a pyramid over a triangle of the activations, so that
    its mean is M³ / (6·255²·w₀w₁) and its mean square M⁴ / (12·255²·w₀w₁).
    """
    lost, signal = 0.0, 0.0
    for _, sums, weights in _blocks(matrix):
        excess = np.maximum(255.0 * np.abs(sums) - np.where(sums > 0, 32_767, 32_768), 0.0)
        area = 255.0**2 * np.where(excess > 0, weights[0] * weights[1], 1.0)
        mean = np.sign(sums) * excess**3 / (6 * area)
        variance = excess**4 / (12 * area) - mean**2
        lost += float((variance.sum(axis=0) + mean.sum(axis=0) ** 2).sum())
    for start in range(0, matrix.shape[1], max(1, _BLOCK // max(1, len(matrix)))):
        block = matrix[:, start : start + max(1, _BLOCK // max(1, len(matrix)))].astype(np.float64)
        # variance of 0 … 255, and the square of its mean's distance from 128
        signal += float((256**2 - 1) / 12 * (block**2).sum() + (block.sum(axis=0) ** 2).sum() / 4)
    return float(np.sqrt(lost / signal)) if signal else 0.0


def _blocks(matrix: Array) -> Iterator[tuple[int, Array, tuple[Array, Array]]]:
    """(first column, sums of pairs, both weights of each as float64) for a few columns at a time. The last weight of
    an odd K has no partner and cannot saturate."""
    pairs = len(matrix) // 2
    step = max(1, _BLOCK // max(1, pairs))
    for start in range(0, matrix.shape[1], step):
        block = matrix[: 2 * pairs, start : start + step].astype(np.int16)
        even, odd = block[0::2], block[1::2]
        yield start, even + odd, (even.astype(np.float64), odd.astype(np.float64))

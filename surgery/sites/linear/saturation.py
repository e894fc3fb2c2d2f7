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

from onnxfix.surgery.sites.constants import Array

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
    found = [Pairs(np.empty(0, np.int64), np.empty(0, np.int64)), *(pairs for pairs, _ in _blocks(matrix))]
    return Pairs(np.concatenate([x.first for x in found]), np.concatenate([x.column for x in found]))


def expected_loss(matrix: Array) -> float:
    """RMS of what saturation loses over the RMS of the product, both over all columns of a weight int8 [K, N].

    Assumes activations that are independent and uniform in 0 … 255, with the zero point 128. That is a bad case:
    normally distributed ones (128 ± 30) lose 2 to 4 times less. For w₀, w₁ of one sign, a limit T and the most that a
    pair can exceed it, M = 255·|w₀ + w₁| − T, what exceeds it is a pyramid over a triangle of the activations, so that
    its mean is M³ / (6·255²·w₀w₁) and its mean square M⁴ / (12·255²·w₀w₁).
    """
    lost, signal = 0.0, 0.0
    for pairs, block in _blocks(matrix):
        left, right = (matrix[pairs.first + side, pairs.column].astype(np.float64) for side in (0, 1))
        excess = 255 * np.abs(left + right) - np.where(left > 0, 32_767, 32_768)
        area = 255.0**2 * left * right
        mean = np.sign(left) * excess**3 / (6 * area)
        lost += float((excess**4 / (12 * area) - mean**2).sum()) + float((np.bincount(pairs.column, mean) ** 2).sum())
        # variance of 0 … 255, and the square of its mean's distance from 128
        squares = np.einsum("kn,kn->", block, block, dtype=np.int64)
        signal += float((256**2 - 1) / 12 * squares + (block.sum(axis=0, dtype=np.int64) ** 2).sum() / 4)
    return float(np.sqrt(lost / signal)) if signal else 0.0


def _blocks(matrix: Array) -> Iterator[tuple[Pairs, Array]]:
    """The pairs in some columns at a time, and these columns as int16. The last weight of an odd K has no partner and
    cannot saturate."""
    even = len(matrix) // 2 * 2
    step = max(1, _BLOCK // max(1, len(matrix)))
    for start in range(0, matrix.shape[1], step):
        block = matrix[:, start : start + step].astype(np.int16)
        column, pair = np.nonzero((np.abs(block[0:even:2] + block[1:even:2]) > LARGEST_SUM).T)
        yield Pairs(2 * pair, start + column), block

"""Weights as integers with one scale a block: the numbers of MatMulNBits and GatherBlockQuantized.

Both are operators of ONNX Runtime (docs/ContribOperators.md): a block of `block_size` elements along one axis is stored
as unsigned integers around the zero point 2^(bits-1), which both take where none is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxfix.nouns.weights.weight_data import Array

# Rows of an embedding table that are quantized at once, so that memory stays near the result's size.
ROWS = 4096


@dataclass(frozen=True)
class Blocks:
    """`packed` as uint8 in the operator's layout, `scales` in the weight's own float type."""

    packed: Array
    scales: Array


def of_product(weight: Array, bits: int, block_size: int) -> Blocks:
    """A weight [K, N], float32 or float16, for MatMulNBits: [N, blocks, block_size · bits / 8] and [N, blocks].

    ONNX Runtime's own quantization kernels do it. `bits` is 4 or 8. Each block's largest magnitude sets its scale.
    """
    from onnxruntime.capi import _pybind_state as native

    inner, outer = weight.shape
    blocks = -(-inner // block_size)
    padded = np.zeros((blocks * block_size, outer), dtype=weight.dtype)
    padded[:inner] = weight
    packed = np.zeros((outer, blocks, block_size * bits // 8), dtype=np.uint8)
    scales = np.zeros(outer * blocks, dtype=weight.dtype)
    zero_points = np.zeros(outer * -(-blocks * bits // 8), dtype=np.uint8)
    quantize = {4: native.quantize_matmul_4bits, 8: native.quantize_matmul_8bits}[bits]
    quantize(packed, padded, scales, zero_points, block_size, outer, inner, True)
    return Blocks(packed, scales.reshape(outer, blocks))


def of_table(table: Array, block_size: int) -> Blocks:
    """An embedding table [rows, width], float32 or float16, for GatherBlockQuantized in 8 bits: packed [rows, width],
    scales [rows, blocks] along the width."""
    rows, width = table.shape
    blocks = -(-width // block_size)
    packed = np.empty((rows, width), dtype=np.uint8)
    scales = np.empty((rows, blocks), dtype=table.dtype)
    for first in range(0, rows, ROWS):
        part = np.zeros((min(ROWS, rows - first), blocks * block_size), dtype=np.float32)
        part[:, :width] = table[first : first + ROWS]
        part = part.reshape(len(part), blocks, block_size)
        scale = (np.abs(part).max(axis=-1) / 127).astype(table.dtype)
        step = np.where(scale == 0, 1, scale).astype(np.float32)
        whole = np.clip(np.rint(part / step[..., None]) + 128, 1, 255).astype(np.uint8)
        packed[first : first + ROWS] = whole.reshape(len(part), -1)[:, :width]
        scales[first : first + ROWS] = scale
    return Blocks(packed, scales)

"""What 16-bit sums of pairs lose from an int32 product, as ONNX nodes: only the pairs that can saturate are computed.

A pair can saturate if its weights' sum is beyond ±128, which is 1 to 3 % of the pairs of ordinary weights. For these
the activations are gathered once more, a block of rows at a time: the memory is that of a few arrays of 4 MB, or of
one row for very many pairs, however many rows there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.surgery.sites.linear.saturation import Pairs

from .insertion import Insertion

Array = np.ndarray[Any, Any]
# Numbers in one gathered array, and rows of a block that few pairs would allow: short inputs are padded to one block.
# 768 × 3,072 random weights (21,000 pairs) on 512 rows: 0.15 s with blocks of 16 rows, 0.3 s with 64.
_NUMBERS = 1 << 20
_MOST_ROWS = 16


def lost(insertion: Insertion, activation: ir.Value, matrix: Array, pairs: Pairs) -> ir.Value:
    """What to add to each sum, int32 [M, N], for a uint8 activation [..., K] of M rows and a weight int8 [K, N]."""
    depth, width = matrix.shape
    rows = int(np.clip(_NUMBERS // len(pairs.first), 1, _MOST_ROWS))
    flat = insertion.node("Reshape", activation, insertion.integers(-1, depth))
    blocks = _blocks(insertion, flat, rows, depth)
    losses = insertion.node("Scan", blocks, body=_body(insertion, matrix, pairs, rows), num_scan_inputs=1)
    losses = insertion.node("Reshape", losses, insertion.integers(-1, width))
    count = insertion.node("Gather", insertion.node("Shape", flat), insertion.integers(0), axis=0)
    whole: ir.Value = insertion.node("Slice", losses, insertion.integers(0), count, insertion.integers(0))
    return whole


def _blocks(insertion: Insertion, flat: ir.Value, rows: int, depth: int) -> ir.Value:
    """[M, K] as whole blocks [B, rows, K], filled up with zeros, which lose nothing; Scan needs one block at least."""
    filler = insertion.constant(np.zeros((rows, depth), np.uint8), "filler")
    padded, block = insertion.node("Concat", flat, filler, axis=0), insertion.integers(rows, depth)
    whole = insertion.node("Mul", insertion.node("Div", insertion.node("Shape", padded), block), block)
    kept = insertion.node("Slice", padded, insertion.integers(0, 0), whole)
    blocks: ir.Value = insertion.node("Reshape", kept, insertion.integers(-1, rows, depth))
    return blocks


def _body(insertion: Insertion, matrix: Array, pairs: Pairs, rows: int) -> ir.Graph:
    """uint8 [rows, K] → int32 [rows, N]. Activations lie along the last axis, so that a gather copies whole rows.

    Weights are absolute in fp32, where sums up to 65,280 are exact; what exceeds int16 counts against their sign. The
    P pairs stand by column: a column's loss is the difference of two running sums, before it and at its end.
    """
    depth, width = matrix.shape
    shape, kind = ir.Shape([rows, depth]), ir.TensorType(ir.DataType.UINT8)
    given = ir.Value(name=f"{insertion.prefix}/rows", type=kind, shape=shape)
    nodes: list[ir.Node] = []

    def node(op_type: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        nodes.append(insertion.detached(op_type, *inputs, **attributes))
        return nodes[-1].outputs[0]

    turned = node("Cast", node("Transpose", given, perm=[1, 0]), to=ir.DataType.FLOAT)
    terms = []
    for side in (0, 1):
        index = insertion.constant(_led(pairs.first + side), "index")
        weights = np.abs(matrix[pairs.first + side, pairs.column].astype(np.float32))
        gathered = node("Gather", turned, index, axis=0)
        terms.append(node("Mul", gathered, insertion.constant(_led(weights)[:, None], "weights")))
    sign = _led(-np.sign(matrix[pairs.first, pairs.column].astype(np.float32)))[:, None]
    # an int16 reaches 32,767 above and 32,768 below
    limit = insertion.constant(np.where(sign < 0, 32_767, 32_768).astype(np.float32), "limit")
    excess = node("Relu", node("Sub", node("Add", *terms), limit))
    signed = node("Cast", node("Mul", excess, insertion.constant(sign, "sign")), to=ir.DataType.INT64)
    running = node("CumSum", signed, insertion.constant(np.array(0, np.int64), "axis"))
    ends = np.cumsum(np.bincount(pairs.column, minlength=width))
    starts = np.concatenate([[0], ends[:-1]])
    last, before = (
        node("Gather", running, insertion.constant(places.astype(np.int64), "places"), axis=0)
        for places in (ends, starts)
    )
    total = node("Cast", node("Sub", last, before), to=ir.DataType.INT32)
    result = node("Transpose", total, perm=[1, 0])
    result.type, result.shape = ir.TensorType(ir.DataType.INT32), ir.Shape([rows, width])
    return ir.Graph([given], [result], nodes=nodes, name=f"{insertion.prefix}/pairs")


def _led(array: Array) -> Array:
    """With a zero before it: a pair without weights, where the running sum is still 0."""
    return np.concatenate([np.zeros(1, array.dtype), array])

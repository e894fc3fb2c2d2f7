"""What a graph says about the integers it can be fed: vocabulary sizes and the longest sequence it has positions for.

Read from the graph alone, because a model file has no tokenizer and no config beside it.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import is_standard

from .uses.look_ups import look_ups

EMBED_LAYER_NORM_POSITIONS = 3
# Segment tables have 1 to 4 rows, position tables at least 32 (tiny test models); anything between tells them apart.
FEWEST_POSITIONS = 16


def table_rows(value: ir.Value) -> int | None:
    """Numbers that integer input `value` can be without leaving a table that it indexes; None when no table is
    found."""
    return min((found.rows for found in look_ups(value)), default=None)


def longest_sequence(model: Model) -> int | None:
    """Tokens that the graph surely has positions for: `positions` rounded down to a multiple of 8, because RoBERTa and
    BART tables hold two rows more than usable positions (514, 1026)."""
    rows = positions(model)
    return rows // 8 * 8 if rows is not None else None


def positions(model: Model) -> int | None:
    """Rows of a learned position table, of a sliced `position_ids` constant, or of constant caches of rotary angles;
    None when the graph has no such table (angles that are computed, relative positions)."""
    tables = [found.shape for value in model.graph.inputs for found in look_ups(value)
              if found.is_direct and found.axis == 0 and len(found.shape) == 2]  # fmt: skip
    hidden = {table[1] for table in tables}
    token_rows = {table[0] for table in tables}
    limits: list[int] = []
    for node in model.nodes():
        shape = _position_table(node)
        if shape is None or shape[0] <= FEWEST_POSITIONS:
            continue
        if node.op_type == "Slice" or (shape[1] in hidden and shape[0] not in token_rows):
            limits.append(shape[0])
    # in the main graph: a branch may be there for just what is short enough
    rotary = (table for node in model.graph if (table := _angles(node)) is not None)
    return min([*limits, *(rows for rows, _ in rotary)], default=None)


def _angles(node: ir.Node) -> tuple[int, int] | None:
    """(positions, angles) of RotaryEmbedding's cache of cosines."""
    if node.op_type != "RotaryEmbedding":
        return None
    return _constant_matrix(node.inputs[1 if is_standard(node) else 2])


def _position_table(node: ir.Node) -> tuple[int, int] | None:
    """(rows, columns) of a table that this node may look positions up in; a (1, N) constant counts as N rows."""
    if node.op_type == "Gather" and node.attributes.get_int("axis", 0) == 0:
        return _constant_matrix(node.inputs[0])
    if node.op_type == "EmbedLayerNormalization":
        return _constant_matrix(node.inputs[EMBED_LAYER_NORM_POSITIONS])
    if node.op_type == "Slice" and node.inputs[0] is not None and _dtype(node.inputs[0]) == ir.DataType.INT64:
        shape = _constant_matrix(node.inputs[0])
        return (shape[1], 1) if shape and shape[0] == 1 else None
    return None


def _constant_matrix(value: ir.Value | None) -> tuple[int, int] | None:
    """(rows, columns) of a rank-2 constant, looked up through casts and dequantization; None for anything else."""
    for _ in range(4):  # Cast, DequantizeLinear and Identity stack at most this deep
        if value is None:
            return None
        constant = ir.convenience.get_const_tensor(value)
        if constant is not None:
            shape = constant.shape.numpy()
            return (shape[0], shape[1]) if len(shape) == 2 else None
        producer = value.producer()
        if producer is None or producer.op_type not in ("Cast", "DequantizeLinear", "Identity"):
            return None
        value = producer.inputs[0]
    return None


def _dtype(value: ir.Value) -> ir.DataType | None:
    constant = ir.convenience.get_const_tensor(value)
    return constant.dtype if constant is not None else value.dtype

"""What a graph says about the integers it can be fed: vocabulary sizes and the longest sequence it has positions for.

Read from the graph alone, because a model file has no tokenizer and no config beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import is_standard

# Operators that hand token ids on unchanged, as exporters put them between the input and its Gather.
TRANSPARENT = frozenset({"Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Expand", "Clip", "Concat"})
# com.microsoft.EmbedLayerNormalization: index of the ids input -> index of its table (contrib operator documentation).
EMBED_LAYER_NORM_TABLES = {0: 2, 1: 4}
EMBED_LAYER_NORM_POSITIONS = 3
# Segment tables have 1 to 4 rows, position tables at least 32 (tiny test models); anything between tells them apart.
FEWEST_POSITIONS = 16


def table_rows(value: ir.Value) -> int | None:
    """Rows of the smallest embedding table that integer input `value` indexes; None when no table is found."""
    return min((table[0] for table in _tables_indexed_by(value, set())), default=None)


def longest_sequence(model: Model) -> int | None:
    """Tokens that the graph surely has positions for: `positions` rounded down to a multiple of 8, because RoBERTa and
    BART tables hold two rows more than usable positions (514, 1026)."""
    rows = positions(model)
    return rows // 8 * 8 if rows is not None else None


def positions(model: Model) -> int | None:
    """Rows of a learned position table, of a sliced `position_ids` constant, or of constant caches of rotary angles;
    None when the graph has no such table (angles that are computed, relative positions)."""
    tables = [t for v in model.graph.inputs for t in _tables_indexed_by(v, set())]
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


def _tables_indexed_by(value: ir.Value, seen: set[ir.Value]) -> Iterator[tuple[int, int]]:
    """Shapes of the constant matrices that `value` is a row index of."""
    if value in seen:
        return
    seen.add(value)
    for node, index in value.uses():
        table: int | None = None
        if node.op_type == "Gather" and index == 1 and node.attributes.get_int("axis", 0) == 0:
            table = 0
        elif node.op_type in ("GatherBlockQuantized", "QEmbedLayerNormalization", "EmbedLayerNormalization"):
            table = 0 if node.op_type == "GatherBlockQuantized" else EMBED_LAYER_NORM_TABLES.get(index)
        if table is not None:
            shape = _constant_matrix(node.inputs[table])
            if shape is not None:
                yield shape
        elif node.op_type in TRANSPARENT and index == 0:
            for output in node.outputs:
                yield from _tables_indexed_by(output, seen)


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

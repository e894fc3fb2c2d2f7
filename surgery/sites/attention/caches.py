"""Caches of keys and values: what is given to a graph and gets more behind it."""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.types.operators import integer, is_standard

RANK, AXIS = 4, 2
"""[batch, heads, positions, size]"""


def appended(value: ir.Value) -> tuple[ir.Value, ir.Value] | None:
    """The cache that is given to the graph and what is put behind it; None for what is no such value."""
    node = value.producer()
    if node is None or node.op_type != "Concat" or not is_standard(node) or len(node.inputs) != 2:
        return None
    past, new = node.inputs
    given = past is not None and past.is_graph_input() and not past.is_initializer()
    if past is None or new is None or not given or past.shape is None or len(past.shape) != RANK:
        return None
    return (past, new) if integer(node, "axis", 0) in (AXIS, AXIS - RANK) else None

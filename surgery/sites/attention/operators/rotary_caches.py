"""Caches of rotations that have one row where a batch has several, which ai.onnx's RotaryEmbedding does not take."""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.sizes.probe import free_axes, generic, probe

CACHES = (1, 2)
_POSITIONS = 3


def of_one_row(model: Model) -> list[ir.Node]:
    """Rotations of a batch of any size by caches of one row, [1, sequence, size / 2], in graph order.

    Without position ids the operator has caches of as many rows as its input (operator set 23), and torch's exporter
    leaves them at one, as broadcasting would allow (torch 2.13).
    """
    found = [node for node in model.graph if _takes_rows(node)]
    if not found:
        return []
    shapes = probe(model.graph, generic(free_axes(model.graph), 0)).shapes
    return [node for node in found if _is_short([shapes.get(v) if v is not None else None for v in node.inputs[:3]])]


def _takes_rows(node: ir.Node) -> bool:
    given = node.inputs[_POSITIONS] if len(node.inputs) > _POSITIONS else None
    return node.op_type == "RotaryEmbedding" and is_standard(node) and given is None


def _is_short(shapes: list[tuple[int, ...] | None]) -> bool:
    rows = [shape[0] if shape else 0 for shape in shapes]
    return len(rows) == 1 + len(CACHES) and rows[0] > 1 and rows[1:] == [1, 1]

"""Moves: operators that hand integers on: in another shape or order, in part, beside others, or bounded."""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.types.operators import is_standard

MOVES = frozenset(
    "Cast Identity Reshape Unsqueeze Squeeze Flatten Expand Clip Slice Split Tile Transpose Pad Abs Gather GatherND "
    "GatherElements ScatterND ScatterElements Concat Min Max Where".split()
)
_ANY_INPUT = frozenset({"Concat", "Min", "Max"})
_SEVERAL = {"Where": (1, 2), "ScatterND": (0, 2), "ScatterElements": (0, 2)}


def hands_on(node: ir.Node, index: int) -> bool:
    """Whether the numbers of an input are among those that a node makes."""
    if not is_standard(node) or node.op_type not in MOVES:
        return False
    return node.op_type in _ANY_INPUT or index in _SEVERAL.get(node.op_type, (0,))

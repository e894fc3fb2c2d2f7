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

# Which operand says where to read or write, or how far.
_PLACES = {
    **dict.fromkeys(("Gather", "GatherND", "GatherElements", "ScatterND", "ScatterElements"), (1,)),
    **{"Slice": (1, 2, 3), "OneHot": (0,), "TopK": (1,), "ReverseSequence": (1,), "Range": (0, 1, 2)},
}
DEPTH = 6


def hands_on(node: ir.Node, index: int) -> bool:
    """Whether the numbers of an input are among those that a node makes."""
    if not is_standard(node) or node.op_type not in MOVES:
        return False
    return node.op_type in _ANY_INPUT or index in _SEVERAL.get(node.op_type, (0,))


def chooses(value: ir.Value, depth: int = 0) -> bool:
    """Whether a value says where to read or write, or how far: 0 and 1 are places that there are."""
    uses = value.uses() if depth < DEPTH else ()
    if any(is_standard(node) and index in _PLACES.get(node.op_type, ()) for node, index in uses):
        return True
    return any(chooses(out, depth + 1) for node, index in uses if hands_on(node, index) for out in node.outputs)

"""Lengths: integer inputs that a model compares with the numbers of a Range, to see what of a row is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir

from onnxfix.nouns.types.operators import is_standard

_COMPARISONS = frozenset({"Less", "LessOrEqual", "Greater", "GreaterOrEqual"})
# They hand numbers on, whatever shape they then have.
_HAND_ON = frozenset({"Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Expand", "Tile"})
_DEPTH = 6


def lengths(inputs: Iterable[ir.Value]) -> frozenset[str]:
    """The names of integer inputs, one number a row, that are lengths."""
    rows = (v for v in inputs if v.dtype is not None and v.dtype.is_integer() and len(v.shape or ()) <= 1)
    return frozenset(str(value.name) for value in rows if any(map(_counts, _compared(value, 0))))


def _compared(value: ir.Value, depth: int) -> Iterator[ir.Value]:
    """What a value is compared with."""
    for node, index in value.uses() if depth < _DEPTH else ():
        if not is_standard(node):
            continue
        other = node.inputs[1 - index] if node.op_type in _COMPARISONS else None
        if other is not None:
            yield other
        elif node.op_type in _HAND_ON and index == 0:
            yield from _compared(node.outputs[0], depth + 1)


def _counts(value: ir.Value | None) -> bool:
    """Whether it is made by a Range."""
    for _ in range(_DEPTH):
        node = value.producer() if value is not None else None
        if node is None or node.op_type not in (*_HAND_ON, "Range"):
            return False
        if node.op_type == "Range":
            return True
        value = node.inputs[0]
    return False

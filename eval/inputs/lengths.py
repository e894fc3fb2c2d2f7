"""Lengths: integer inputs that a model compares with the numbers of a Range, to see what of a row is there."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from .settings import DEPTH, HAND_ON, compared

_COMPARISONS = frozenset({"Less", "LessOrEqual", "Greater", "GreaterOrEqual"})


def lengths(inputs: Iterable[ir.Value]) -> frozenset[str]:
    """The names of integer inputs, one number a row, that are lengths."""
    rows = (v for v in inputs if v.dtype is not None and v.dtype.is_integer() and len(v.shape or ()) <= 1)
    return frozenset(str(value.name) for value in rows if any(map(_counts, compared(value, _COMPARISONS))))


def _counts(value: ir.Value | None) -> bool:
    """Whether it is made by a Range."""
    for _ in range(DEPTH):
        node = value.producer() if value is not None else None
        if node is None or node.op_type not in (*HAND_ON, "Range"):
            return False
        if node.op_type == "Range":
            return True
        value = node.inputs[0]
    return False

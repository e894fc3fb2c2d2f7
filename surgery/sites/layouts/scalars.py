"""One number, however a graph states it: a constant, the root of one, a size of an axis cast to float."""

from __future__ import annotations

import math

import onnx_ir as ir

from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.constants import small_array

from .ground import Ground

_MOVES = frozenset("Cast CastLike Identity Squeeze Unsqueeze Reshape Expand".split())
_DEPTH = 12


def number(value: ir.Value | None, ground: Ground, depth: int = _DEPTH) -> float | None:
    """The number that every element of a value is; None where it is more than one, or an activation."""
    if value is None or depth == 0:
        return None
    if (value, depth) not in ground.single:
        ground.single[value, depth] = _number(value, ground, depth)
    return ground.single[value, depth]


def _number(value: ir.Value, ground: Ground, depth: int) -> float | None:
    array = small_array(value, limit=1)
    if array is None:
        array = ground.numbers(value)
    if array is not None:
        return float(array.reshape(-1)[0]) if array.size == 1 and array.dtype.kind in "iuf" else None
    node = value.producer()
    if node is None or not is_standard(node):
        return None
    if node.op_type in _MOVES:
        return number(node.inputs[0], ground, depth - 1)
    given = [number(v, ground, depth - 1) for v in node.inputs]
    known = [n for n in given if n is not None]
    return _computed(node.op_type, known) if known and len(known) == len(given) else None


def _computed(op_type: str, known: list[float]) -> float | None:
    try:
        match op_type, known:
            case "Sqrt", [x]:
                return math.sqrt(x)
            case "Reciprocal", [x]:
                return 1 / x
            case "Neg", [x]:
                return -x
            case "Mul", [x, y]:
                return x * y
            case "Div", [x, y]:
                return x / y
            case "Add", [x, y]:
                return x + y
            case "Sub", [x, y]:
                return x - y
            case "Pow", [x, y]:
                return math.pow(x, y)
    except (ValueError, ArithmeticError):
        return None
    return None

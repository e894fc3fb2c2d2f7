"""Lengths: integer inputs that say how many steps of a row there are.

They are compared with the numbers of a Range, bound one, cut the row, or go to an operator that takes as many steps: a
recurrent one, ReverseSequence, a Loop. With 0 or 1 of them a model does next to nothing, and nothing would be known of
what it computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir

from onnxfix.nouns.types.operators import integer, is_standard

from .moves import DEPTH, hands_on
from .settings import compared

_COMPARISONS = frozenset({"Less", "LessOrEqual", "Greater", "GreaterOrEqual"})
# Which operand is a number of steps.
_STEPS = {"RNN": 4, "GRU": 4, "LSTM": 4, "ReverseSequence": 1, "Loop": 0, "Range": 1, "Slice": 2}
MOST = 1 << 30
# A loop runs its body so often: a decoder's is a whole model.
MOST_TRIPS = 32


def lengths(inputs: Iterable[ir.Value]) -> dict[str, int]:
    """Names of integer inputs, one number a row or one for all, that are lengths, and the most that each may be as far
    as the file says."""
    rows = (v for v in inputs if v.dtype is not None and v.dtype.is_integer() and _is_a_number_a_row(v))
    found = {str(value.name): [*_bounds(value)] for value in rows}
    return {name: min(bounds) for name, bounds in found.items() if bounds}


def _is_a_number_a_row(value: ir.Value) -> bool:
    return all(dim == 1 for dim in list(value.shape or ())[1:])


def _bounds(value: ir.Value) -> Iterator[int]:
    """The most that each reader takes for which it is a number of steps; none for what is no length."""
    if any(map(_counts, compared(value, _COMPARISONS))):
        yield MOST
    for node, index in _readers(value):
        if _STEPS.get(node.op_type) == index:
            yield MOST_TRIPS if node.op_type == "Loop" else _steps(node)


def _readers(value: ir.Value, depth: int = 0) -> Iterator[tuple[ir.Node, int]]:
    """What reads a value, as it is or handed on."""
    for node, index in value.uses() if depth < DEPTH else ():
        if not is_standard(node):
            continue
        yield node, index
        if hands_on(node, index):
            for output in node.outputs:
                yield from _readers(output, depth + 1)


def _steps(node: ir.Node) -> int:
    """The size of the axis that is stepped along, where it is known."""
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    if node.op_type in ("Range", "Slice") or shape is None:
        return MOST
    axis = integer(node, "time_axis", 0) if node.op_type == "ReverseSequence" else integer(node, "layout", 0)
    size = shape[axis] if axis < len(shape) else None
    return size if isinstance(size, int) and size > 0 else MOST


def _counts(value: ir.Value | None, depth: int = 0) -> bool:
    """Whether it is made by a Range."""
    node = value.producer() if value is not None and depth < DEPTH else None
    if node is None or not is_standard(node):
        return False
    back = (v for index, v in enumerate(node.inputs) if hands_on(node, index))
    return node.op_type == "Range" or any(_counts(v, depth + 1) for v in back)

"""Settings: single integers that a model compares with numbers of its own, a sampling rate or a mode, to choose by.

And what an input is compared with at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

import onnx_ir as ir

from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.constants import integers

from .moves import DEPTH, hands_on

_COMPARISONS = frozenset({"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"})
_LARGEST = 1 << 20
"""Beyond it numbers bound what a type holds, and are of nothing."""


def settings(inputs: Iterable[ir.Value]) -> dict[str, tuple[int, ...]]:
    """Name of an integer input of one element → the numbers that it is compared with for equality, in their order.

    Any other number takes the branch that is left, whose shapes may be of another kind of input.
    """
    single = (v for v in inputs if v.dtype is not None and v.dtype.is_integer() and _is_single(v))
    equal = frozenset({"Equal"})
    found = {
        str(value.name): tuple(dict.fromkeys(n for other in compared(value, equal) for n in integers(other) or ()))
        for value in single
    }
    return {name: numbers for name, numbers in found.items() if numbers}


def kinds(inputs: Iterable[ir.Value]) -> dict[str, tuple[int, ...]]:
    """Name of an integer input of several elements, as of languages or types of tokens → 0, 1, and the numbers that it
    is compared with, with one less and one more."""
    several = [v for v in inputs if v.dtype is not None and v.dtype.is_integer() and not _is_single(v)]
    known = {v: [n for other in compared(v, _COMPARISONS) for n in integers(other) or ()] for v in several}
    near = {v: sorted({0, 1, *(n + step for n in found for step in (-1, 0, 1))}) for v, found in known.items() if found}
    return {str(v.name): tuple(n for n in numbers if abs(n) <= _LARGEST) for v, numbers in near.items()}


def _is_single(value: ir.Value) -> bool:
    return value.shape is not None and all(dim == 1 for dim in value.shape)


def compared(value: ir.Value, by: Set[str], depth: int = 0) -> Iterator[ir.Value]:
    """What a value is compared with, by operators of these types."""
    for node, index in value.uses() if depth < DEPTH else ():
        if not is_standard(node):
            continue
        other = node.inputs[1 - index] if node.op_type in by else None
        if other is not None:
            yield other
        elif hands_on(node, index):
            for output in node.outputs:
                yield from compared(output, by, depth + 1)

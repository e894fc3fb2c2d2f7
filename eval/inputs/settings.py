"""Settings: single integers that a model compares with numbers of its own, a sampling rate or a mode, to choose by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir

from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.constants import integers

# They hand on a number, whatever shape it then has.
_HAND_ON = frozenset({"Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Gather", "Flatten"})
_DEPTH = 6


def settings(inputs: Iterable[ir.Value]) -> dict[str, tuple[int, ...]]:
    """Name of an integer input of one element → the numbers that it is compared with for equality, in their order.

    Any other number takes the branch that is left, whose shapes may be of another kind of input.
    """
    single = (v for v in inputs if v.dtype is not None and v.dtype.is_integer() and _is_single(v))
    found = {str(value.name): tuple(dict.fromkeys(_compared(value, 0))) for value in single}
    return {name: numbers for name, numbers in found.items() if numbers}


def _is_single(value: ir.Value) -> bool:
    return value.shape is not None and all(dim == 1 for dim in value.shape)


def _compared(value: ir.Value, depth: int) -> Iterator[int]:
    for node, index in value.uses() if depth < _DEPTH else ():
        if not is_standard(node):
            continue
        if node.op_type == "Equal":
            yield from integers(node.inputs[1 - index]) or ()
        elif node.op_type in _HAND_ON and index == 0:
            yield from _compared(node.outputs[0], depth + 1)

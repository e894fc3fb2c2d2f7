"""Numbers: integer inputs that a model computes with as it does with floats: samples of sound, pixels, counts.

A flag, a mask or an index is 0 or 1 as well as anything; of a number that says nothing. Squares of 16-bit samples are
beyond what half precision holds, and those of 0 and 1 are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import ml_dtypes
import onnx_ir as ir

from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.constants import constant_tensor

from .moves import DEPTH, hands_on

_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Pow"})
# They sum products of what they read.
_PRODUCTS = frozenset("Conv ConvTranspose MatMul Gemm ConvInteger MatMulInteger QLinearConv QLinearMatMul".split())
_NORMS = frozenset({"BatchNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization"})
# Where operators of products may have a constant operand.
_WEIGHTS = (0, 1, 3)
_LARGE = 1e3
_SMALL_BITS = 16
COUNTS = (0, 100)
"""Of a type that could hold any: numbers of pieces, ages, per cent."""

Range = tuple[int, int]
"""The least, and one more than the largest."""


def numbers(inputs: Iterable[ir.Value]) -> dict[str, Range]:
    """Names of integer inputs that are numbers, each with a range: all that its type holds up to 16 bits, else 0 to
    99."""
    whole = [(str(v.name), v.dtype, v) for v in inputs if v.dtype is not None and v.dtype.is_integer()]
    return {name: _range(dtype) for name, dtype, value in whole if _is_computed_with(value)}


def _range(dtype: ir.DataType) -> Range:
    held = ml_dtypes.iinfo(dtype.numpy())  # type: ignore[no-untyped-call]
    return (int(held.min), int(held.max) + 1) if dtype.bitwidth <= _SMALL_BITS else COUNTS


def _is_computed_with(value: ir.Value) -> bool:
    return any(_computes(node, index, is_float) for node, index, is_float in _readers(value, False, 0))


def _readers(value: ir.Value, is_float: bool, depth: int) -> Iterator[tuple[ir.Node, int, bool]]:
    """What reads a value as it is or as a float, and which of both."""
    for node, index in value.uses() if depth < DEPTH else ():
        if not is_standard(node):
            continue
        yield node, index, is_float
        if hands_on(node, index) or (index == 0 and node.op_type == "DequantizeLinear"):
            for output in node.outputs:
                yield from _readers(output, is_float or _makes_float(node), depth + 1)


def _makes_float(node: ir.Node) -> bool:
    if node.op_type == "Cast":
        to = node.attributes.get("to")
        return to is not None and ir.DataType(to.as_int()).is_floating_point()
    return node.op_type == "DequantizeLinear"


def _computes(node: ir.Node, index: int, is_float: bool) -> bool:
    """Whether a node computes with an operand as with a number, by weights of its own. A mask or a flag is multiplied
    with what it hides, taken from 1, or made a number so large that nothing is seen beside it."""
    if node.op_type in _PRODUCTS:
        weights = [at for at in _WEIGHTS if at < len(node.inputs) and constant_tensor(node.inputs[at]) is not None]
        return any(at != index for at in weights)
    if not is_float or node.op_type in _NORMS:
        return is_float and index == 0
    if node.op_type not in _ARITHMETIC or len(node.inputs) != 2:
        return False
    if node.inputs[0] is node.inputs[1]:
        return True
    other = constant_tensor(node.inputs[1 - index])
    if other is None:
        return False
    size = abs(other.numpy().astype("float64"))
    if node.op_type in ("Add", "Sub"):
        return not (size == 1).all()
    return bool((size < _LARGE).all()) if node.op_type == "Mul" else not (node.op_type == "Div" and index)

"""Floats made of integers: positions, lengths and sizes, which half rounds above 2,048 (bf16 above 256).

A Cast of an integer, whole numbers chosen out of a table, and the arithmetic behind them, as long as nothing but
integers and constants enters: Range of a length, a scale of sizes, a bias by distance, a comparison of positions.
What 8 bits hold is exact in both halves, and a mask of zeros and ones is as well. Integers that meet an activation are
rounded there, as everything in half is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.attention import attention_scores
from onnxfix.surgery.sites.attention.rotary import ANGLE_OPS
from onnxfix.surgery.sites.constants import Array, constant_tensor, small_array
from onnxfix.surgery.sites.linear.linears import INTEGER_PRODUCTS

from .movement import MOVEMENT

REASON = "integers, which half rounds above 2,048"
SCALED = "sum of integers that is still to be scaled"
COMPARISONS = frozenset({"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"})
_WIDE = frozenset(f"tensor({kind})" for kind in "int16 uint16 int32 uint32 int64 uint64".split())
_ARITHMETIC = (ANGLE_OPS - {"MatMul", "Einsum", "If", "CastLike", "Constant", "SplitToSequence", "SequenceAt"}) | {
    "Mod", "Sign", "ReduceMax", "ReduceMin", "ReduceSum", "ArgMax", "ArgMin", "TopK", *COMPARISONS,
}  # fmt: skip
_NEVER = 1e3
"""A mask multiplies its zeros and ones by this or more, or chooses such a number."""
_CHOICES = frozenset({"Gather", "GatherElements", "GatherND", "Where"})
_EXACT, _LARGEST = 256, 1 << 24
"""Whole numbers that both halves hold, and that fp32 does: beyond it are those that stand for infinity."""
_FIRST = 256
_SUMS = frozenset(INTEGER_PRODUCTS) | {"ConvInteger"}


@dataclass(frozen=True)
class IntegerFloats:
    """`casts`: nodes that make a float of an integer, and data movement behind them; `arithmetic`: nodes that compute
    with such floats alone; `scaled`: casts of int32 sums and all up to where these are in range."""

    casts: tuple[ir.Node, ...]
    arithmetic: tuple[ir.Node, ...]
    scaled: tuple[ir.Node, ...]


def find(model: Model, types: ElementTypes) -> IntegerFloats:
    """All of a model, in graph order."""
    masks = _masks(model, types)
    born: set[ir.Value] = set()
    sums: list[ir.Node] = []
    casts: list[ir.Node] = []
    arithmetic: list[ir.Node] = []
    for node in model.nodes():
        if not is_standard(node) or node in masks:
            continue
        if node.op_type in ("Cast", "CastLike"):
            if not types.is_float32(node.outputs[0]) or types.get(node.inputs[0]) not in _WIDE:
                continue
            if _is_sum(node.inputs[0]):
                sums.append(node)
                continue
            born.add(node.outputs[0])
            casts.append(node)
        elif node.outputs and types.is_float32(node.outputs[0]) and _chooses_whole_numbers(node, types):
            born.add(node.outputs[0])
            casts.append(node)
        elif node.op_type in _ARITHMETIC | MOVEMENT and _reads_alone(node, types, born):
            born.update(v for v in node.outputs if types.is_float32(v))
            (casts if node.op_type in MOVEMENT else arithmetic).append(node)
    return IntegerFloats(tuple(casts), tuple(arithmetic), tuple(_scaled(sums, types)))


def _reads_alone(node: ir.Node, types: ElementTypes, born: Collection[ir.Value]) -> bool:
    floats = [v for v in node.inputs if types.is_float32(v) and constant_tensor(v) is None]
    return bool(floats) and all(v in born for v in floats)


def _chooses_whole_numbers(node: ir.Node, types: ElementTypes) -> bool:
    """By integers or by bools, out of constants, some of which half does not hold; a place in zeros as well."""
    if node.op_type == "OneHot":
        return True
    floats = [v for v in node.inputs if types.is_float32(v)] if node.op_type in _CHOICES else []
    arrays = [tensor.numpy().reshape(-1) for v in floats if (tensor := constant_tensor(v)) is not None]
    if not arrays or len(arrays) < len(floats) or not all(map(_is_whole, arrays)):
        return False
    return any(np.abs(array).max(initial=0) > _EXACT for array in arrays)


def _is_whole(array: Array) -> bool:
    first = array[:_FIRST]  # which tells a table of weights
    if not (np.floor(first) == first).all():
        return False
    return bool((np.abs(array) <= _LARGEST).all() and (np.floor(array) == array).all())


def _masks(model: Model, types: ElementTypes) -> set[ir.Node]:
    """What says "never" to a Softmax by zeros and ones; a bias by distance is computed like it, of other integers."""
    found: set[ir.Node] = set()
    for site in attention_scores.find(model, types):
        if any(_says_never(v) for node in site.mask for v in node.inputs):
            found.update(site.mask)
    return found


def _says_never(value: ir.Value | None) -> bool:
    array = small_array(value, limit=16)
    return array is not None and array.dtype.kind == "f" and bool((np.abs(array) >= _NEVER).any())


def _is_sum(value: ir.Value | None) -> bool:
    """Whether an integer is an int32 sum of products, perhaps with a correction added to it."""
    pending, seen = [value], 0
    while pending and seen < 8:
        current = pending.pop()
        node = current.producer() if current is not None else None
        if node is None:
            continue
        if node.op_type in _SUMS:
            return True
        seen += 1
        if node.op_type in MOVEMENT | {"Add", "Sub"}:
            pending.extend(node.inputs)
    return False


def _scaled(casts: list[ir.Node], types: ElementTypes) -> list[ir.Node]:
    """Casts of sums, what scales them, and the product of the scales, which may be below the smallest half."""
    found: dict[ir.Node, None] = {}
    pending = list(casts)
    while pending:
        node = pending.pop()
        if node in found:
            continue
        found[node] = None
        for reader in (n for v in node.outputs for n in v.consumers()):
            others = [v for v in reader.inputs if v is not None and v not in node.outputs and types.is_float32(v)]
            scaling = reader.op_type in ("Mul", "Div") and all(_is_scale(v, found) for v in others)
            if scaling or reader.op_type in MOVEMENT:
                pending.append(reader)
    return list(found)


def _is_scale(value: ir.Value, found: dict[ir.Node, None]) -> bool:
    """A constant, what DynamicQuantizeLinear measured, or a product of such, whose nodes become part of `found`."""
    if constant_tensor(value) is not None:
        return True
    node = value.producer()
    if node is None or node in found:
        return node is not None
    if node.op_type == "DynamicQuantizeLinear":
        return True
    if node.op_type not in MOVEMENT | {"Mul", "Div", "Reciprocal"}:
        return False
    read = node.inputs[:1] if node.op_type in MOVEMENT else node.inputs
    if not all(v is not None and _is_scale(v, found) for v in read):
        return False
    found[node] = None
    return True

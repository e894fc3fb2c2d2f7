"""Look-ups: tables whose rows an integer input chooses, with all that hands its numbers on or moves them.

Ids reach their table through casts and reshapes, and through what cuts, joins, bounds and replaces them: without the
last token, with a row of codes for each codebook behind the one before, with 0 where an id stands for an image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.constants import constant_tensor, integers

from .moves import hands_on

# com.microsoft.EmbedLayerNormalization: index of the ids input -> index of its table (contrib operator documentation).
EMBED_LAYER_NORM_TABLES = {0: 2, 1: 4}
_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Mod"})
_UNARY = frozenset("Cast DequantizeLinear Identity Neg Abs Sqrt Exp Tanh Relu Dropout LayerNormalization".split())
_BINARY = frozenset("Add Sub Mul Div Pow".split())
_DEEPEST = 24


@dataclass(frozen=True)
class LookUp:
    """A table of this `shape` read along `axis` by numbers times `scale` and `offset` more."""

    shape: tuple[int, ...]
    axis: int = 0
    scale: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)

    @property
    def rows(self) -> int:
        """How many numbers from 0 on choose a row that there is."""
        return max(int((self.shape[self.axis] - 1 - self.offset) / self.scale) + 1, 0)

    @property
    def is_direct(self) -> bool:
        """Whether numbers are the table's own."""
        return self.scale == 1 and self.offset == 0


def look_ups(value: ir.Value) -> Iterator[LookUp]:
    """All tables behind an integer input, of constants or of what is computed of them."""
    return _behind(value, LookUp((0,)), set(), 0)


def _behind(value: ir.Value, moved: LookUp, seen: set[ir.Value], depth: int) -> Iterator[LookUp]:
    if value in seen or depth > _DEEPEST:
        return
    seen.add(value)
    for node, index in value.uses():
        table = _table(node, index)
        if table is not None:
            yield replace(moved, shape=table.shape, axis=table.axis)
        elif (after := _handed_on(node, index, moved)) is not None:
            for output in node.outputs:
                yield from _behind(output, after, seen, depth + 1)


def _table(node: ir.Node, index: int) -> LookUp | None:
    """What a node reads by the numbers of one of its inputs."""
    data, axis = 0, integer(node, "axis", 0)
    if node.op_type in ("QEmbedLayerNormalization", "EmbedLayerNormalization") and index in EMBED_LAYER_NORM_TABLES:
        data, axis = EMBED_LAYER_NORM_TABLES[index], 0
    elif node.op_type == "OneHot" and index == 0 and is_standard(node):
        depth = integers(node.inputs[1]) if len(node.inputs) > 1 else None
        return LookUp((depth[0],)) if depth else None
    elif node.op_type == "GatherBlockQuantized" and index == 1:
        axis = integer(node, "gather_axis", 0)
    elif node.op_type == "GatherND" and index == 1 and is_standard(node):
        return _by_places(node)
    elif node.op_type not in ("Gather", "GatherElements") or index != 1 or not is_standard(node):
        return None
    shape = _shape(node.inputs[data], 0) if data < len(node.inputs) else None
    return LookUp(shape, axis % len(shape)) if shape and -len(shape) <= axis < len(shape) else None


def _by_places(node: ir.Node) -> LookUp | None:
    """Of the axes that a row of places speaks of, or may, the shortest."""
    shape, first, places = _shape(node.inputs[0], 0), integer(node, "batch_dims", 0), node.inputs[1]
    known = list(places.shape) if places is not None and places.shape is not None else []
    count = known[-1] if known else None
    made = places.producer() if places is not None else None
    if made is not None and made.op_type == "Unsqueeze" and made.inputs and made.inputs[0] is not None:
        rank = len(made.inputs[0].shape) if made.inputs[0].shape is not None else None
        axes = made.attributes.get_ints("axes") or (integers(made.inputs[1]) if len(made.inputs) > 1 else None)
        count = 1 if axes and axes[-1] in (-1, rank) else count
    told = shape[first : first + count] if shape and isinstance(count, int) else (shape or ())[first:]
    return LookUp((min(told),)) if told else None


def _handed_on(node: ir.Node, index: int, moved: LookUp) -> LookUp | None:
    """The numbers of an input in what a node makes; None where they are no more in it."""
    if hands_on(node, index):
        return moved
    if not is_standard(node) or node.op_type not in _ARITHMETIC or len(node.inputs) != 2:
        return None
    numbers = integers(node.inputs[1 - index])
    if not numbers or (index == 1 and node.op_type not in ("Add", "Mul")):
        return None
    return _computed(node.op_type, moved, min(numbers), max(numbers))


def _computed(op_type: str, moved: LookUp, least: int, most: int) -> LookUp | None:
    if op_type in ("Add", "Sub"):
        return replace(moved, offset=moved.offset + (most if op_type == "Add" else -least))
    if least <= 0:
        return None
    if op_type == "Mul":
        return replace(moved, scale=moved.scale * most, offset=moved.offset * most)
    if op_type == "Div":
        return replace(moved, scale=moved.scale / least, offset=moved.offset / least)
    return moved  # a remainder is no larger


def _shape(value: ir.Value | None, depth: int) -> tuple[int, ...] | None:
    """Of a constant, or of what is computed of constants alone."""
    tensor = constant_tensor(value)
    if tensor is not None:
        return tuple(int(size) for size in tensor.shape.numpy())
    node = value.producer() if value is not None else None
    if node is None or depth > _DEEPEST or not node.inputs:
        return None
    shapes = [_shape(v, depth + 1) for v in node.inputs[: 1 if node.op_type in _UNARY | {"Transpose"} else 2]]
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return None
    if node.op_type == "Transpose":
        order = node.attributes.get_ints("perm") or tuple(reversed(range(len(known[0]))))
        return tuple(known[0][axis] for axis in order) if len(order) == len(known[0]) else None
    if node.op_type in _BINARY:
        try:
            return np.broadcast_shapes(*known)
        except ValueError:
            return None
    return known[0] if node.op_type in _UNARY else None

"""What SequenceAt takes out of a SplitToSequence: a part of the tensor that was split, at known sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.shapes.product_operations import Shape

from .product_shapes import Numbers


@dataclass(frozen=True)
class Piece:
    """`size` elements of `whole` along `axis`, from `start` on; the axis goes where `keeps_axis` is False."""

    whole: ir.Value
    axis: int
    start: int
    size: int
    keeps_axis: bool

    def shape(self, whole: Shape) -> Shape:
        middle = (self.size,) if self.keeps_axis else ()
        return (*whole[: self.axis], *middle, *whole[self.axis + 1 :])


def piece(node: ir.Node, shapes: Mapping[ir.Value, Shape], numbers: Mapping[ir.Value, Numbers]) -> Piece | None:
    """Of a SequenceAt; None where it reads another sequence, or sizes are not known."""
    split = node.inputs[0].producer() if node.op_type == "SequenceAt" and node.inputs[0] is not None else None
    if split is None or split.op_type != "SplitToSequence" or not is_standard(split) or not is_standard(node):
        return None
    whole, position = split.inputs[0], numbers.get(node.inputs[1]) if node.inputs[1] is not None else None
    shape = shapes.get(whole) if whole is not None else None
    if whole is None or not shape or position is None:
        return None
    axis = integer(split, "axis", 0) % len(shape)
    keeps, given = True, split.inputs[1] if len(split.inputs) > 1 else None
    index = int(position.reshape(-1)[0])
    if given is None:
        keeps, part = bool(integer(split, "keepdims", 1)), _alike(shape[axis], 1, index)
    elif (stated := numbers.get(given)) is None:
        return None
    elif stated.ndim == 0:
        part = _alike(shape[axis], int(stated), index)
    else:
        part = _of(stated, index)
    return Piece(whole, axis, *part, keeps) if part is not None else None


def _alike(whole: int, size: int, index: int) -> tuple[int, int] | None:
    """Where a part begins and its size: of parts of one size, the last one shorter. An axis may have 2⁴⁰ of them."""
    count = -(-whole // size) if size > 0 else 0
    if not -count <= index < count:
        return None
    start = index % count * size
    return start, min(size, whole - start)


def _of(sizes: Numbers, index: int) -> tuple[int, int] | None:
    """The same of parts whose sizes are listed."""
    listed = [int(n) for n in sizes]
    if not -len(listed) <= index < len(listed):
        return None
    index %= len(listed)
    return sum(listed[:index]), listed[index]

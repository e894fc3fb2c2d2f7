"""Queries, keys and values as [batch, sequence, heads, size]: where that stands in the graph already, or can be had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.surgery.sites.layouts.ground import Ground
from onnxfix.surgery.sites.layouts.layout import Axis, Layout
from onnxfix.surgery.sites.layouts.views import Stage, stages

from ..refusal import UnreadableError
from .products import Product, arranged


@dataclass(frozen=True)
class Operand:
    """`value`, whose axes after the first two are heads and features; or, with `perm`, is so once transposed. `heads`
    of its own, each of `size` features: fewer than queries have where each is repeated for `repeats` of them, which are
    neighbours."""

    value: ir.Value
    heads: int
    size: int
    repeats: int = 1
    perm: tuple[int, ...] | None = None
    joined: bool = False
    """Heads and features are one axis."""
    start: int | None = None
    """Of the features along the last axis, where others stand beside them."""


@dataclass(frozen=True)
class Read:
    """An operand, and the number that it is multiplied with on its way into the product."""

    operand: Operand
    factor: float


def operand(
    of: Product, side: int, split: tuple[int, int], ground: Ground, *, turned: bool = False, scaled: bool = True
) -> Read:
    """What stands behind one side of a product whose leading axes are `split` into batch and heads; `turned`: with its
    last two axes the other way round; `scaled`: behind numbers that it is multiplied by. Raises UnreadableError."""
    lead, perm = of.shape[:-2], of.perms[side]
    path = [stage for stage in stages((of.left, of.right)[side], ground) if scaled or stage.factor == 1]
    found = placed(path, lambda layout: _laid(arranged(layout, perm), lead, split, turned), ground, of.node)
    if found is None:
        raise UnreadableError(of.node, f"has an input {side} that is not made of batch, positions, heads and features")
    return found


def placed(path: list[Stage], laid: Callable[[Layout], Layout | None], ground: Ground, reader: ir.Node) -> Read | None:
    """The furthest value on a path that is [batch, sequence, heads, size] as it stands, else that needs a Transpose;
    `laid` brings a layout into that order. Raises UnreadableError where a value is declared as what it is not."""
    for stage in path:
        _check_declared(stage.value, reader, ground)
    layouts = [(stage, laid(stage.layout)) for stage in path]
    for read in (_standing, _part, _turned):
        for stage, layout in reversed(layouts):
            found = read(stage, layout, ground) if layout is not None else None
            if found is not None:
                return found
    return None


def _check_declared(value: ir.Value, product: ir.Node, ground: Ground) -> None:
    shape = ground.shape(value)
    if value.shape is None or shape is None:
        return
    pairs = zip(value.shape, shape, strict=False)
    if len(value.shape) != len(shape) or any(isinstance(d, int) and d >= 0 and d != n for d, n in pairs):
        node = value.producer() or product
        raise UnreadableError(node, f"is declared as {value.shape}, and computes {list(shape)}")


def _laid(layout: Layout, lead: tuple[int, ...], split: tuple[int, int], turned: bool) -> Layout | None:
    """[batch, sequence, heads, size] of an input of a product, with what the product itself repeats."""
    rank = len(layout.axes)
    if turned:
        layout = layout.transposed([*range(rank - 2), rank - 1, rank - 2])
    rows, size = layout.shape[-2:]
    apart = layout.expanded((*lead, rows, size)).reshaped((*split, rows, size))
    return None if apart is None else apart.transposed([0, 2, 1, 3])


def _own(layout: Layout) -> tuple[Layout, int] | None:
    """Without repeated heads, and how often each was repeated. None where a batch is repeated: no kernel does that."""
    batch, rows, heads, size = layout.axes
    if any(stride == 0 for _, stride in (*batch, *rows, *size)):
        return None
    repeats = heads[-1][0] if heads and heads[-1][1] == 0 else 1
    own = heads[:-1] if repeats > 1 else heads
    if any(stride == 0 for _, stride in own):
        return None
    return Layout((batch, rows, own, size), layout.offset), repeats


def _standing(stage: Stage, layout: Layout, ground: Ground) -> Read | None:
    own, shape = _own(layout), ground.shape(stage.value)
    if own is None or shape is None or not own[0].contiguous:
        return None
    batch, rows, heads, size = own[0].shape
    if len(shape) < 3 or shape[:2] != (batch, rows) or own[0].shape != (*shape[:2], heads, size):
        return None
    return Read(Operand(stage.value, heads, size, own[1], joined=len(shape) == 3), stage.factor)


def _part(stage: Stage, layout: Layout, ground: Ground) -> Read | None:
    """Some of the features that a value has for each head, as where queries, keys and values are split by head."""
    own, shape = _own(layout), ground.shape(stage.value)
    if own is None or shape is None or len(shape) != 4 or own[0].shape[:3] != shape[:3]:
        return None
    *_, heads, size = own[0].shape
    there = Layout.of(shape).sliced(3, own[0].offset, size) if own[0].offset + size <= shape[3] else None
    return (
        Read(Operand(stage.value, heads, size, own[1], start=own[0].offset), stage.factor) if there == own[0] else None
    )


def _turned(stage: Stage, layout: Layout, ground: Ground) -> Read | None:
    """A value that one Transpose puts right."""
    own, shape = _own(layout), ground.shape(stage.value)
    if own is None or shape is None or own[0].offset or len(shape) < 3:
        return None
    (batch, rows, heads, size), left = own[0].axes, dict(enumerate(Layout.of(shape).axes))
    parts = [_axes_of(axis, left) for axis in (batch, rows, heads, size)]
    if any(part is None for part in parts):
        return None
    first, second, middle, last = (part or _lone(left) for part in parts)
    if len(first) != 1 or len(second) != 1 or len(last) != 1:
        return None
    perm = (*first, *second, *middle, *left, *last)
    if any(left.values()) or len(perm) != len(shape):
        return None
    *_, own_heads, features = own[0].shape
    return Read(Operand(stage.value, own_heads, features, own[1], perm, joined=len(shape) == 3), stage.factor)


def _axes_of(wanted: Axis, left: dict[int, Axis]) -> tuple[int, ...] | None:
    """The axes of a value, taken from those `left`, that one of a view runs over, outermost first."""
    found: list[int] = []
    for size, stride in wanted:
        while size > 1:
            fitting = (i for i, axis in left.items() if axis and size % axis[0][0] == 0
                       and axis[0][0] * axis[0][1] == size * stride)  # fmt: skip
            place = next(fitting, None)
            if place is None:
                return None
            size //= left.pop(place)[0][0]
            found.append(place)
    return tuple(found)


def _lone(left: dict[int, Axis]) -> tuple[int, ...]:
    """An axis of size 1 in the place of one."""
    place = next((i for i, axis in left.items() if not axis), None)
    if place is None:
        return ()
    del left[place]
    return (place,)

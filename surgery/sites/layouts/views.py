"""The values that one is a view of: what stands behind layout operators and multiplications by numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.types.operators import attribute, integer, is_standard
from onnxfix.surgery.sites.sizes.pieces import piece

from .ground import Ground
from .layout import Layout
from .scalars import number

RESHAPES = frozenset("Reshape Squeeze Unsqueeze Flatten".split())
SAME = frozenset("Identity Cast Dropout".split())


@dataclass(frozen=True)
class Stage:
    """A value that another is a view of: `layout` of the other in it, times `factor`."""

    value: ir.Value
    layout: Layout
    factor: float


def stages(value: ir.Value, ground: Ground) -> list[Stage]:
    """The value itself, then what it is a view of, one operator after the other; empty where its shape is unknown."""
    shape = ground.shape(value)
    if shape is None:
        return []
    found = [Stage(value, Layout.of(shape), 1.0)]
    path: list[ir.Value] = []
    while (step := back(found[-1].value, ground)) is not None:
        source, factor = step
        path.insert(0, found[-1].value)
        layout = _along(source, path, ground)
        if layout is None:
            break
        found.append(Stage(source, layout, found[-1].factor * factor))
    return found


def back(value: ir.Value, ground: Ground) -> tuple[ir.Value, float] | None:
    """The one value that an operator moves or multiplies by a number, and the number; None for all else."""
    node = value.producer()
    if node is None or not is_standard(node) or not node.inputs or ground.shape(value) is None:
        return None
    if node.op_type in ("Mul", "Div"):
        return scaled(node, ground)
    if node.op_type == "Neg":
        return None if node.inputs[0] is None else (node.inputs[0], -1.0)
    part = piece(node, ground.probe.shapes, ground.probe.numbers)
    source = node.inputs[0] if part is None else part.whole
    shape = ground.shape(source)
    if source is None or shape is None or moved(node, value, Layout.of(shape), ground) is None:
        return None
    return source, 1.0


def scaled(node: ir.Node, ground: Ground) -> tuple[ir.Value, float] | None:
    """What a Mul or Div multiplies by a number that changes no shape, and the number."""
    left, right = node.inputs
    for data, other in ((left, right), (right, left)) if node.op_type == "Mul" else ((left, right),):
        factor = number(other, ground)
        if factor and data is not None and ground.shape(data) == ground.shape(node.outputs[0]):
            return data, factor if node.op_type == "Mul" else 1 / factor
    return None


def _along(source: ir.Value, path: Sequence[ir.Value], ground: Ground) -> Layout | None:
    shape = ground.shape(source)
    layout = None if shape is None else Layout.of(shape)
    for value in path:
        node = value.producer()
        if layout is None or node is None:
            return None
        layout = layout if node.op_type in ("Mul", "Div", "Neg") else moved(node, value, layout, ground)
    return layout


def moved(node: ir.Node, output: ir.Value, layout: Layout, ground: Ground) -> Layout | None:
    """The layout of an output where its first input has one; None for what is no layout operator."""
    shape, kind = ground.shape(output), node.op_type
    if shape is None or not is_standard(node):
        return None
    if kind in RESHAPES:
        return layout.reshaped(shape)
    if kind == "Transpose":
        return layout.transposed(attribute(node, "perm", None) or range(len(layout.axes))[::-1])
    if kind in SAME:
        return layout if unchanged(node, ground) and output is node.outputs[0] else None
    if kind == "Expand":
        return layout.expanded(shape)
    if kind == "Tile":
        return layout.tiled([n // max(size, 1) for n, size in zip(shape, layout.shape, strict=True)])
    if kind == "Concat" and len(set(node.inputs)) == 1:
        axis = integer(node, "axis", 0) % len(shape)
        return layout.tiled([len(node.inputs) if i == axis else 1 for i in range(len(shape))])
    if kind == "Split":
        return _split(node, output, layout, ground)
    if kind == "Slice":
        return _slice(node, layout, ground)
    if (part := piece(node, ground.probe.shapes, ground.probe.numbers)) is not None:
        taken = layout.sliced(part.axis, part.start, part.size)
        return taken if taken is None or part.keeps_axis else taken.without(part.axis)
    return _taken(node, layout, ground) if kind == "Gather" else None


def unchanged(node: ir.Node, ground: Ground) -> bool:
    """Whether the first output is the first input: a Cast to the type it has, a Dropout that drops nothing."""
    if node.op_type == "Cast":
        return node.inputs[0] is not None and ground.same_type(node.inputs[0], node.outputs[0])
    return node.op_type == "Identity" or (node.op_type == "Dropout" and len(node.inputs) < 3)


def _split(node: ir.Node, output: ir.Value, layout: Layout, ground: Ground) -> Layout | None:
    axis, start = integer(node, "axis", 0) % len(layout.axes), 0
    for part in node.outputs:
        shape = ground.shape(part)
        if shape is None:
            return None
        if part is output:
            return layout.sliced(axis, start, shape[axis])
        start += shape[axis]
    return None


def _slice(node: ir.Node, layout: Layout, ground: Ground) -> Layout | None:
    given = [ground.numbers(v) for v in node.inputs[1:]]
    if len(given) < 2 or given[0] is None or given[1] is None:
        return None
    starts, ends = (list(map(int, given[i].reshape(-1))) for i in (0, 1))  # type: ignore[union-attr]
    axes = list(map(int, given[2].reshape(-1))) if len(given) > 2 and given[2] is not None else list(range(len(starts)))
    steps = list(map(int, given[3].reshape(-1))) if len(given) > 3 and given[3] is not None else [1] * len(starts)
    found: Layout | None = layout
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if found is None or step < 1:
            return None
        axis %= len(found.axes)
        taken = range(*slice(start, end, step).indices(found.shape[axis]))
        found = found.sliced(axis, taken.start, len(taken), step) if taken else None
    return found


def _taken(node: ir.Node, layout: Layout, ground: Ground) -> Layout | None:
    """A Gather of one index, or of neighbours."""
    index, axis = ground.numbers(node.inputs[1]), integer(node, "axis", 0) % len(layout.axes)
    if index is None or index.ndim > 1 or not index.size:
        return None
    wanted = [int(i) % layout.shape[axis] for i in index.reshape(-1)]
    if wanted != list(range(wanted[0], wanted[0] + len(wanted))):
        return None
    part = layout.sliced(axis, wanted[0], len(wanted))
    return part.without(axis) if part is not None and index.ndim == 0 else part

"""Where the rows of an axis lie in each value, so that a Reshape can be held to keep them together.

A Reshape keeps the order of numbers and nothing else: (7, 4·6) may become (7, 4, 6), and also (4, 7, 6), which mixes
rows. An axis of `size` rows is followed by how many numbers lie in front of it and behind it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_ir as ir

from onnxfix.surgery.sites.shapes.product_operations import Shape

from .product_shapes import wholes


def mixed(graph: ir.Graph, shapes: Mapping[ir.Value, Shape], size: int) -> ir.Node | None:
    """The first Reshape that tears rows apart, or of which that is not known; None where all keep them together.

    `size` is a prime that no other axis has as a factor.
    """
    inner: dict[ir.Value, int] = {}
    for node in graph:
        if node.op_type == "Reshape" and not _reshaped(node, shapes, size, inner):
            return node
        if node.op_type == "Transpose":
            _transposed(node, shapes, size, inner)
    return None


def axis_of(shape: Shape | None, size: int) -> int | None:
    """The one axis that holds the rows; None where there is none, or more than one."""
    found = [axis for axis, d in enumerate(shape or ()) if d and d % size == 0]
    return found[0] if len(found) == 1 else None


def _within(value: ir.Value | None, shapes: Mapping[ir.Value, Shape], size: int, inner: dict[ir.Value, int]) -> int:
    """How many numbers of its axis lie behind each row: 1 for an axis of the rows alone; 0 where that is not known.

    What neither reshapes nor turns leaves an axis as its operand has it.
    """
    seen: set[ir.Value] = set()
    while value is not None and value not in seen and (axis := axis_of(shapes.get(value), size)) is not None:
        if shapes[value][axis] == size:
            return 1
        if value in inner:
            return inner[value]
        seen.add(value)
        node, width = value.producer(), shapes[value][axis]
        held = [v for v in (node.inputs if node is not None else ()) if v is not None
                and (a := axis_of(shapes.get(v), size)) is not None and shapes[v][a] == width]  # fmt: skip
        value = held[0] if node is not None and node.op_type not in ("Reshape", "Transpose") and held else None
    return 0


def _reshaped(node: ir.Node, shapes: Mapping[ir.Value, Shape], size: int, inner: dict[ir.Value, int]) -> bool:
    source, made = node.inputs[0], node.outputs[0]
    x, y = shapes.get(source) if source is not None else None, shapes.get(made)
    if x is None or y is None or math.prod(x) % size:
        return True
    before, after = axis_of(x, size), axis_of(y, size)
    behind = _within(source, shapes, size, inner)
    if before is None or after is None or not behind:
        return False
    in_front = math.prod(x[:before]) * (x[before] // size // behind)
    follow = math.prod(x[before + 1 :]) * behind
    if in_front % math.prod(y[:after]) or follow % math.prod(y[after + 1 :]):
        return False
    inner[made] = follow // math.prod(y[after + 1 :])
    return True


def _transposed(node: ir.Node, shapes: Mapping[ir.Value, Shape], size: int, inner: dict[ir.Value, int]) -> None:
    source = node.inputs[0]
    if source is not None and wholes(node, "perm") is not None and (behind := _within(source, shapes, size, inner)):
        inner[node.outputs[0]] = behind

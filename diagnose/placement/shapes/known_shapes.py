"""Shapes of all values at one batch and sequence, by name or by value."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx_ir as ir

from onnxfix.nouns.plan import Sizes
from onnxfix.surgery.sites.shapes.product_operations import Shape
from onnxfix.surgery.sites.sizes.shape_walk import Walk

from .concrete_shapes import inferred_shapes, size_of, stated_shapes


def shapes_at(model: ir.Model, sizes: Sizes, recorded: Mapping[str, ir.Shape]) -> dict[ir.Value, Shape]:
    """The shape of each value as far as it is known; `recorded`: what the file says, by name.

    Bodies of control flow are walked once, with the values that they capture.
    """
    walk = Walk(stated_shapes(model.graph, sizes, recorded))
    for value in model.graph.inputs:
        if value.shape is not None:
            walk.shapes[value] = tuple(size_of(d, axis, sizes) for axis, d in enumerate(value.shape))
    walk.graph(model.graph)
    return walk.shapes


def shapes_by_name(
    names: Collection[str], model: ir.Model, sizes: Sizes, recorded: Mapping[str, ir.Shape]
) -> dict[str, Shape]:
    """The shapes of at least these values, as far as known: onnx's inference is asked for what the walk leaves open."""
    found: dict[str, set[Shape]] = {}
    for value, shape in shapes_at(model, sizes, recorded).items():
        found.setdefault(value.name or "", set()).add(shape)
    known = {name: shapes.pop() for name, shapes in found.items() if len(shapes) == 1}  # branches may share a name
    return known if all(name in known for name in names) else inferred_shapes(model, sizes, recorded) | known

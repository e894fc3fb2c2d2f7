"""Shapes of all values at one batch and sequence, by name or by value."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import onnx_ir as ir

from onnxfix.nouns.plan import Sizes
from onnxfix.nouns.types.operators import bodies, integer, is_standard
from onnxfix.surgery.sites.shapes.product_operations import Shape
from onnxfix.surgery.sites.sizes.product_shapes import wholes
from onnxfix.surgery.sites.sizes.shape_walk import Walk

from .concrete_shapes import evaluated, inferred_fed, inferred_shapes, size_of, stated_shapes


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


def shapes_fed(model: ir.Model, fed: Mapping[str, Shape], complete: bool = True) -> dict[ir.Value, Shape]:
    """The shape of each value as far as it is known, with inputs of these shapes, by name. `complete`: onnx's own
    inference is asked for what the walk leaves open, which takes a copy of the weights."""
    symbols = {
        dimension.value: size
        for value in model.graph.inputs
        for dimension, size in zip(value.shape or (), fed.get(value.name or "", ()), strict=False)
        if not isinstance(dimension, int) and dimension.value
    }
    recorded = ((v.name or "", v.shape) for node in model.graph.all_nodes() for v in node.outputs)
    stated = {n: known for n, s in recorded if s is not None and (known := evaluated(s, symbols)) is not None}
    walk = _FedWalk(stated)
    for value in model.graph.inputs:
        if value.name and value.name in fed:
            walk.shapes[value] = fed[value.name]
    walk.graph(model.graph)
    open_values = [v for node in model.graph.all_nodes() for v in node.outputs if v not in walk.shapes and v.name]
    if complete and open_values:
        found = inferred_fed(model, fed)
        walk.shapes.update((value, found[value.name]) for value in open_values if value.name in found)
    return walk.shapes


class _FedWalk(Walk):
    """Follows what a Scan or Loop hands to its body, and what it stacks of that, as often as it runs."""

    def _node(self, node: ir.Node) -> None:
        body = next(iter(bodies(node)), None) if node.op_type in ("Scan", "Loop") and is_standard(node) else None
        if body is None:
            super()._node(node)
            return
        times = self._enter(node, body)
        self.graph(body)
        made = list(body.outputs)[node.op_type == "Loop" :]
        states = len(node.inputs) - (2 if node.op_type == "Loop" else integer(node, "num_scan_inputs", 1))
        for index, (inner, value) in enumerate(zip(made, node.outputs, strict=False)):
            if (shape := self.shapes.get(inner)) is not None:
                self.shapes[value] = shape if index < states else (times, *shape)

    def _enter(self, node: ir.Node, body: ir.Graph) -> int:
        """Shapes of the body's inputs; how often it runs, as far as that is to be seen: else as many as the longest
        axis of what it is given."""
        known = [None if v is None else self.shapes.get(v) for v in node.inputs]
        longest = max((size for shape in known if shape for size in shape), default=1)
        if node.op_type == "Loop":
            count = self.numbers.get(node.inputs[0]) if node.inputs[0] is not None else None
            self._bind(body.inputs[2:], known[2:])
            return int(count.reshape(-1)[0]) if count is not None and count.size == 1 else longest
        scanned = integer(node, "num_scan_inputs", 1)
        first = len(known) - scanned
        axes = wholes(node, "scan_input_axes") or (0,) * scanned
        parts = [s if s is None else (*s[:a], *s[a % len(s) + 1 :]) for s, a in zip(known[first:], axes, strict=True)]
        self._bind(body.inputs, [*known[:first], *parts])
        lengths = [shape[axis] for shape, axis in zip(known[first:], axes, strict=True) if shape]
        return lengths[0] if lengths else longest

    def _bind(self, values: Sequence[ir.Value], shapes: Sequence[Shape | None]) -> None:
        self.shapes.update((v, shape) for v, shape in zip(values, shapes, strict=False) if shape is not None)

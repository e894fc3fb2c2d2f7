"""What is known of all values at two sets of sizes that share no number: a reading that holds at both holds at all."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.unchanged import once
from onnxfix.surgery.sites.shapes.product_operations import Shape
from onnxfix.surgery.sites.sizes.probe import Probe, free_axes, generic, probe
from onnxfix.surgery.sites.sizes.product_shapes import Numbers
from onnxfix.surgery.sites.sizes.tied_sizes import tied


@dataclass(frozen=True)
class Ground:
    """Shapes, and numbers in small integer values, at one set of sizes; types at any."""

    probe: Probe
    types: ElementTypes
    single: dict[tuple[ir.Value, int], float | None] = field(default_factory=dict, compare=False, repr=False)
    """Numbers that scalars.number has read, by how far it looked."""

    def shape(self, value: ir.Value | None) -> Shape | None:
        found = self.probe.shapes.get(value) if value is not None else None
        return None if found is None else tuple(map(int, found))

    def numbers(self, value: ir.Value | None) -> Numbers | None:
        return self.probe.numbers.get(value) if value is not None else None

    def same_type(self, value: ir.Value, other: ir.Value) -> bool:
        return self.types.get(value) is not None and self.types.get(value) == self.types.get(other)


def grounds(model: Model) -> tuple[Ground, Ground]:
    """The main graph walked twice, each free axis with a prime of its own, but for those that are one by two names.
    The same ground twice where no axis is free."""
    return once(model.graph, "grounds", lambda: _grounds(model))


def _grounds(model: Model) -> tuple[Ground, Ground]:
    types, graph = infer(model.ir), model.graph
    first = Ground(_walked(graph, 0), types)
    return first, Ground(_walked(graph, 1), types) if free_axes(graph) else first


def _walked(graph: ir.Graph, turn: int) -> Probe:
    usual = probe(graph, generic(free_axes(graph), turn), inferred=True)
    if not usual.misfits:
        return usual
    sizes = tied(graph, turn)
    return probe(graph, sizes or generic(free_axes(graph), turn), past_constants=True, inferred=True)

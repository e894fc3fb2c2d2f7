"""Which node of the file a planned node comes from: optimised graphs carry no metadata, but keep names of values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.site import scope_of

from .region import PlannedNode, Region


@dataclass(frozen=True)
class Origins:
    """Nodes of the file by the names of their outputs and by their own."""

    by_output: dict[str, ir.Node]
    by_name: Mapping[str, ir.Node]

    @staticmethod
    def of(nodes: Iterable[ir.Node]) -> Origins:
        every = list(nodes)
        outputs = {v.name: n for n in every for v in n.outputs if v.name}
        return Origins(outputs, {n.name: n for n in every if n.name})

    def node(self, planned: PlannedNode) -> ir.Node | None:
        """The node that made the same value, or one of the same name."""
        made = (self.by_output.get(v.name or "") for v in planned.outputs_named())
        return next((n for n in made if n is not None), self.by_name.get(planned.name))

    def value(self, name: str) -> ir.Value | None:
        node = self.by_output.get(name)
        return None if node is None else next(v for v in node.outputs if v.name == name)


def scopes(region: Region, origins: Origins) -> dict[PlannedNode, str]:
    """The torch module of every planned node; a node that an optimisation made takes that of its first reader."""
    found: dict[PlannedNode, str] = {}
    for inner in region.walk():
        consumers = inner.consumers()
        for node in reversed(inner.nodes):
            original = origins.node(node)
            if original is not None:
                found[node] = scope_of(original)
                continue
            readers = (r for v in node.outputs for r in consumers.get(v, ()))
            found[node] = next((found[r] for r in readers if found.get(r)), "")
    return found

"""Which nodes of the file a planned node comes from: optimised graphs carry no metadata, but keep names of values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.site import label, scope_of
from onnxfix.surgery.sites.reach import reached

from .region import PlannedNode, Region


@dataclass(frozen=True)
class Origins:
    """Nodes of the file by the names of their outputs and by their own.

    `by_name` is without names that different graphs share; `repeated`: outputs that they share, as branches do.
    """

    by_output: dict[str, ir.Node]
    by_name: Mapping[str, ir.Node]
    repeated: Mapping[str, Mapping[str, ir.Node]]

    @staticmethod
    def of(nodes: Iterable[ir.Node]) -> Origins:
        every = list(nodes)
        outputs = {v.name: n for n in every for v in n.outputs if v.name}
        made = Counter(v.name for n in every for v in n.outputs if v.name)
        repeated: dict[str, dict[str, ir.Node]] = {}
        for node in every:
            for name in (v.name for v in node.outputs if v.name and made[v.name] > 1):
                repeated.setdefault(name, {})[node.name or ""] = node
        names = Counter(n.name for n in every)
        return Origins(outputs, {n.name: n for n in every if n.name and names[n.name] == 1}, repeated)

    def node(self, planned: PlannedNode) -> ir.Node | None:
        """The node that made the same value, or one of the same name."""
        return self.find(planned.name, (v.name or "" for v in planned.outputs_named()))

    def find(self, name: str, outputs: Iterable[str]) -> ir.Node | None:
        """As `node`: of several that make a value of one name that which also has the node's."""
        made = (self.repeated.get(value, {}).get(name) or self.by_output.get(value) for value in outputs)
        return next((n for n in made if n is not None), self.by_name.get(name))

    def sources(self, planned: PlannedNode, kept: Set[str]) -> tuple[str, ...]:
        """Names of the nodes that became this one: those behind its outputs up to values that the plan still has.

        `kept`: names of all values of the planned graph. A fused LayerNormalization comes from the nine nodes it was
        written out in; a MatMul whose weight was folded also from the Transpose of the weight.
        """

        def absorbed(node: ir.Node) -> Iterator[ir.Node]:
            makers = (v.producer() for v in node.inputs if v is not None and v.name not in kept)
            return (maker for maker in makers if maker is not None)

        named = [v.name or "" for v in planned.outputs_named()]
        last = [n for value in named or [""] if (n := self.find(planned.name, [value])) is not None]
        return tuple(label(n) for n in reversed(reached(last, absorbed)))

    def shapes(self) -> dict[str, ir.Shape]:
        """Shapes that the file states, by value name."""
        values = ((v.name, v.shape) for n in self.by_output.values() for v in n.outputs)
        return {name: shape for name, shape in values if name and shape is not None}


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

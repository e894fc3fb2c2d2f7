"""Two graphs side by side: whether they are one, which nodes are in both, and what changed in each module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.flows.diagnosis.difference.interface import own_inputs, paired
from onnxfix.flows.diagnosis.difference.weights.contents import Contents
from onnxfix.flows.diagnosis.difference.weights.pairs import Pair
from onnxfix.flows.diagnosis.difference.weights.stored import Stored
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer

from .altered import Wiring, altered
from .changes import Count, Modules
from .digests import Digests
from .matching import Matching
from .modules import counts, modules
from .scopes import aligned, scopes


@dataclass(frozen=True)
class Nodes:
    """Nodes but for those that hold constants: in both and equal, in both and altered, in one alone."""

    kept: int
    altered: int
    removed: int
    added: int

    def as_dict(self) -> dict[str, int]:
        return {"kept": self.kept, "altered": self.altered, "removed": self.removed, "added": self.added}


@dataclass(frozen=True)
class Names:
    """Of nodes that are in both: those with another name, values with another name, nodes out of the other's order."""

    nodes: int
    values: int
    moved: int

    def as_dict(self) -> dict[str, int]:
        return {"nodes": self.nodes, "values": self.values, "out_of_order": self.moved}


class Graphs:
    """Both graphs, their digests and the nodes in pairs."""

    def __init__(self, models: tuple[Model, Model], contents: Contents) -> None:
        self.models = models
        graphs_ = models[0].graph, models[1].graph
        self.inputs = paired(own_inputs(graphs_[0]), own_inputs(graphs_[1]))
        names = self._names()
        self.digests = Digests(models[0].ir, contents, names[0]), Digests(models[1].ir, contents, names[1])
        self.outputs = paired(graphs_[0].outputs, graphs_[1].outputs, self._equal)
        self.matching = Matching(*self.digests, graphs_)
        self.scopes = scopes(graphs_[0]), scopes(graphs_[1])
        self.altered: dict[ir.Node, tuple[str, ...]] = {}
        """What differs in each node of the first that is paired."""

    def _names(self) -> tuple[dict[ir.Value, str], dict[ir.Value, str]]:
        ours: dict[ir.Value, str] = {}
        theirs: dict[ir.Value, str] = {}
        for number, (one, other) in enumerate(self.inputs):
            for value, names in ((one, ours), (other, theirs)):
                if value is not None:
                    names[value] = f"{number}"
        return ours, theirs

    def _equal(self, one: ir.Value, other: ir.Value) -> bool:
        return self.digests[0].read(one) == self.digests[1].read(other)

    def match(self, weights: list[Pair]) -> None:
        """Pair the nodes, with the help of the weights that are paired."""
        numbers: tuple[dict[ir.Value, int], dict[ir.Value, int]] = ({}, {})
        for number, pair in enumerate(weights):
            for side, stored in enumerate((pair.before, pair.after)):
                numbers[side].update(dict.fromkeys(stored.values, number))
        inputs, outputs = (
            [(one, other) for one, other in ends if one is not None and other is not None]
            for ends in (self.inputs, self.outputs)
        )
        self.matching.run(inputs, outputs, self.scopes, numbers)
        wiring = Wiring(inputs, self.pairs)
        self.altered = {a: tuple(altered(a, b, self.digests, wiring)) for a, b in self.pairs.items()}
        self.scopes = self.scopes[0], aligned(*self.scopes, self.pairs)

    def read_alike(self, ours: list[Stored], theirs: list[Stored]) -> Iterator[tuple[Stored, Stored]]:
        """Weights that paired nodes read at the same place."""
        known = [{value: each for each in side if each.is_weight for value in each.values} for side in (ours, theirs)]
        for one, other in self.pairs.items():
            for first, second in zip(one.inputs, other.inputs, strict=False):
                if first in known[0] and second in known[1]:
                    yield known[0][first], known[1][second]

    @property
    def pairs(self) -> Mapping[ir.Node, ir.Node]:
        return self.matching.of

    @property
    def are_equal(self) -> bool:
        """Whether outputs that are paired are the same numbers, and all nodes are there on both sides."""
        outputs = all(a is not None and b is not None and self._equal(a, b) for a, b in self.outputs)
        return outputs and self._counted(0) == self._counted(1)

    def _counted(self, side: int) -> Counter[str]:
        known = self.digests[side].of_node
        return Counter(known[node] for node in self.matching.nodes[side])

    def nodes(self) -> Nodes:
        changed = sum(map(bool, self.altered.values()))
        both, (ours, theirs) = len(self.pairs), map(len, self.matching.nodes)
        return Nodes(both - changed, changed, ours - both, theirs - both)

    def operators(self) -> tuple[Count, ...]:
        """Of all nodes, those that hold constants among them."""
        return counts(*(model.nodes() for model in self.models))

    def modules(self) -> Modules:
        types = infer(self.models[0].ir), infer(self.models[1].ir)
        return modules(self.matching.nodes, self.scopes, self.pairs, self.altered, types)

    def names(self) -> Names:
        """Values are outputs of nodes and inputs of bodies."""
        renamed = sum(one.name != other.name for one, other in self.pairs.items())
        made = (v for one, other in self.pairs.items() for v in zip(one.outputs, other.outputs, strict=False))
        values = sum(first.name != second.name for first, second in made)
        return Names(renamed, values, self._moved())

    def _moved(self) -> int:
        """Nodes that stand in front of one that they stood behind."""
        place = {node: number for number, node in enumerate(self.matching.nodes[1])}
        last, moved = -1, 0
        for node in self.matching.nodes[0]:
            if node in self.pairs:
                here = place[self.pairs[node]]
                moved += here < last
                last = max(last, here)
        return moved

"""Model-local functions of a file: none may call itself, and calls may not unfold to too many nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxfix.nouns.site import Site

from .fault import Fault, site_of

Key = tuple[str, str, str]
"""Domain, name and overload."""
DEEPEST = 100
"""Calls inside calls; modules of torch nest some twenty deep."""
MOST_NODES = 200_000
"""Nodes of a graph with all its calls unfolded; the largest transformers have some 30,000."""


def key_of(node: Any) -> Key:
    """Which function a node would call."""
    return node.domain, node.op_type, node.overload


def key_of_function(function: Any) -> Key:
    return function.domain, function.name, function.overload


def inner_nodes(nodes: Any) -> Iterator[Any]:
    """NodeProtos, and those in their bodies."""
    for node in nodes:
        yield node
        for given in node.attribute:
            if given.ref_attr_name:
                continue
            for body in (given.g, *given.graphs) if given.HasField("g") else given.graphs:
                yield from inner_nodes(body.node)


@dataclass
class Functions:
    """The functions of a ModelProto, and which of them are called at all."""

    known: Mapping[Key, Any]
    faults: list[Fault] = field(default_factory=list)
    _sizes: dict[Key, int] = field(default_factory=dict)

    @staticmethod
    def of(model: Any) -> Functions:
        return Functions({key_of_function(f): f for f in model.functions})

    def called(self, nodes: Any) -> set[Key]:
        """All that nodes call, and what these call in turn."""
        found: set[Key] = set()
        waiting = [key_of(node) for node in inner_nodes(nodes)]
        while waiting:
            key = waiting.pop()
            if key in self.known and key not in found:
                found.add(key)
                waiting.extend(key_of(node) for node in inner_nodes(self.known[key].node))
        return found

    def unfolded(self, nodes: Any, inside: tuple[Key, ...] = ()) -> int:
        """How many nodes there are with every call unfolded. What recurs or is too deep is a fault, and counts once."""
        return sum(self._size(node, inside) for node in inner_nodes(nodes))

    def _size(self, node: Any, inside: tuple[Key, ...]) -> int:
        key = key_of(node)
        if key not in self.known:
            return 1
        if key in self._sizes:
            return self._sizes[key]
        if key in inside or len(inside) >= DEEPEST:
            how = "calls itself" if key in inside else f"calls functions more than {DEEPEST} deep"
            self.faults.append(Fault(site_of(node), f"of the function {inside[-1][1]} {how}"))
            return 1
        self._sizes[key] = self.unfolded(self.known[key].node, (*inside, key))
        return self._sizes[key]

    def recurs(self, function: Any) -> bool:
        """Whether a function that is not called has no end."""
        before = len(self.faults)
        return self.unfolded(function.node, (key_of_function(function),)) > MOST_NODES or len(self.faults) > before

    def check(self, model: Any) -> list[Fault]:
        """What is wrong with calls as such."""
        total = self.unfolded(model.graph.node)
        if total > MOST_NODES:
            said = f"calls of functions unfold to {total:,} nodes, and {MOST_NODES:,} are the most that are looked at"
            self.faults.append(Fault(Site(), said))
        return self.faults


def interface(node: Any, function: Any) -> Iterator[str]:
    """What is wrong with a call, as clauses."""
    for what, given, formal in (
        ("inputs", node.input, function.input),
        ("outputs", node.output, function.output),
    ):
        if len(given) > len(formal):
            yield f"has {len(given)} {what}, and the function {function.name} has {len(formal)}"

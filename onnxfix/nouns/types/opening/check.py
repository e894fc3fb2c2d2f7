"""The one validation on opening: walks a ModelProto once, at every depth, and finds what all else relies on.

What ONNX Runtime takes passes. Operators that nobody knows, types that conflict and versions that are too new are no
faults: such models can be looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Set
from typing import Any

from onnxfix.nouns.site import Site

from . import nodes, sparse, tensors, text, types
from .fault import Fault, site_of
from .functions import Functions, inner_nodes, interface, key_of

MOST = 100
"""Faults that are told; a file of noise has thousands."""
NEWEST = 1 << 31
"""Versions of operator sets are 32-bit numbers to those who look them up."""


def faults(model: Any) -> tuple[Fault, ...]:
    """What is wrong with a ModelProto. Functions that are never called and wrong are taken out of it, as they are to
    ONNX Runtime what a comment is."""
    unreadable = dict.fromkeys(text.names(model))
    if unreadable:
        return tuple(Fault(Site(value=name), "is a name that is not UTF-8") for name in unreadable)[:MOST]
    functions = Functions.of(model)
    found = [*_imports(model.opset_import, ""), *functions.check(model)]
    if found:  # walking into calls needs an end
        return tuple(found[:MOST])
    found = _Walk(functions, _versions(model.opset_import)).graph(model.graph, frozenset())
    called = functions.called(model.graph.node)
    for key, function in functions.known.items():
        inner = _function(functions, function)
        if key in called:
            found += inner
        elif inner or functions.recurs(function):
            model.functions.remove(function)
    return tuple(dict.fromkeys(found))[:MOST]


def _versions(imports: Any) -> dict[str, int]:
    return {"" if each.domain == "ai.onnx" else each.domain: each.version for each in imports}


def _imports(imports: Any, where: str) -> Iterator[Fault]:
    for each in imports:
        if not 0 <= each.version < NEWEST:
            said = f"the operator set {each.domain or 'ai.onnx'}{where} has the version {each.version}"
            yield Fault(Site(), said)


def _function(functions: Functions, function: Any) -> list[Fault]:
    walk = _Walk(functions, _versions(function.opset_import), _references(function))
    found = [*_imports(function.opset_import, f" of the function {function.name}")]
    if found:
        return found
    for name, times in _counts(function.input).items():
        if times > 1:
            found.append(Fault(Site(value=name), f"is twice an input of the function {function.name}"))
    found += walk.body(function.node, set(function.input), frozenset())
    found = found or _unordered(function)
    made = {*function.input, *(name for node in function.node for name in node.output)}
    for name in function.output:
        if name not in made:
            found.append(Fault(Site(value=name), f"is an output of the function {function.name}, which nothing makes"))
    for given in function.attribute_proto:
        found += [Fault(Site(), f"the function {function.name} {clause}") for clause in nodes.attribute(given, None)]
    return found


def _unordered(function: Any) -> list[Fault]:
    """Nodes that read what stands behind them. ONNX Runtime takes such graphs but no such functions: it infers the
    types of a function's body from its first node to its last."""
    known: set[str] = {*function.input}
    made = {name for node in function.node for name in node.output}
    found = []
    for node in function.node:
        late = next((name for name in _read(node) if name in made and name not in known), None)
        if late is not None:
            found.append(
                Fault(site_of(node), f"of the function {function.name} reads '{late}', which stands behind it")
            )
        known.update(node.output)
    return found


def _references(function: Any) -> frozenset[str]:
    return frozenset((*function.attribute, *(each.name for each in function.attribute_proto)))


def _counts(names: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found


class _Walk:
    """Over one graph, or one function, and all bodies in it. `outer`: names that the graphs around it have."""

    def __init__(
        self, functions: Functions, imports: Mapping[str, int], references: frozenset[str] | None = None
    ) -> None:
        self.functions, self.imports, self.references = functions, imports, references

    def graph(self, graph: Any, outer: Set[str]) -> list[Fault]:
        found = [
            Fault(Site(value=info.name), clause)
            for info in (*graph.input, *graph.output, *graph.value_info)
            if (clause := types.fault(info.type))
        ]
        for tensor in graph.initializer:
            found += [
                Fault(Site(value=tensor.name), f"weight '{tensor.name}' {clause}") for clause in tensors.faults(tensor)
            ]
        for held in graph.sparse_initializer:
            name = held.values.name
            found += [Fault(Site(value=name), f"weight '{name}' {clause}") for clause in sparse.faults(held)]
        given = [info.name for info in graph.input]
        found += [Fault(Site(value=n), "is twice an input") for n, times in _counts(given).items() if times > 1]
        stored = {*(t.name for t in graph.initializer), *(held.values.name for held in graph.sparse_initializer)}
        found += self.body(graph.node, {*given, *stored}, outer)
        made = {*given, *stored, *(name for node in graph.node for name in node.output)}
        found += [
            Fault(Site(value=info.name), "is an output that nothing makes") for info in graph.output
            if info.name not in made or not info.name
        ]  # fmt: skip
        return found

    def body(self, body: Any, given: Set[str], outer: Set[str]) -> list[Fault]:
        """The nodes of a graph or function, whose inputs and weights are `given`."""
        found: list[Fault] = []
        makers: dict[str, int] = {}
        for index, node in enumerate(body):
            for name in filter(None, node.output):
                if name in makers or name in given:
                    first = site_of(body[makers[name]]) if name in makers else "an input or a weight"
                    found.append(Fault(site_of(node), f"makes '{name}', which {first} is already"))
                makers.setdefault(name, index)
        known = {*outer, *given, *makers}
        for node in body:
            found += [Fault(site_of(node), clause) for clause in self._node(node)]
            found += [
                Fault(site_of(node), f"reads '{name}', which nothing makes")
                for name in node.input
                if name and name not in known
            ]
            for given_body in _bodies(node):
                found += self.graph(given_body, known)
        return found or _cycle(body, makers)

    def _node(self, node: Any) -> Iterator[str]:
        function = self.functions.known.get(key_of(node))
        if function is not None:
            yield from interface(node, function)
        yield from nodes.faults(
            node, nodes.schema_of(node, self.imports) if function is None else None, self.references
        )


def _bodies(node: Any) -> Iterator[Any]:
    for given in node.attribute:
        if not given.ref_attr_name:
            yield from (given.g, *given.graphs) if given.HasField("g") else given.graphs


def _cycle(body: Any, makers: Mapping[str, int]) -> list[Fault]:
    """One node of a cycle. What bodies read of the graph around them counts as read by their node."""
    readers: dict[int, list[int]] = {}
    waits = [0] * len(body)
    for index, node in enumerate(body):
        read = {makers[name] for name in _read(node) if name in makers}
        waits[index] = len(read)
        for maker in read:
            readers.setdefault(maker, []).append(index)
    ready = deque(index for index, count in enumerate(waits) if not count)
    while ready:
        for reader in readers.get(ready.popleft(), ()):
            waits[reader] -= 1
            if not waits[reader]:
                ready.append(reader)
    stuck = next((index for index, count in enumerate(waits) if count), None)
    if stuck is None:
        return []
    return [Fault(site_of(body[stuck]), "waits for its own result: its graph contains a cycle")]


def _read(node: Any) -> Iterator[str]:
    yield from filter(None, node.input)
    for body in _bodies(node):
        inside = {*(i.name for i in body.input), *(t.name for t in body.initializer)}
        inside.update(name for inner in body.node for name in inner.output)
        for inner in body.node:
            yield from (name for name in _read(inner) if name not in inside)
        yield from (info.name for info in body.output if info.name not in inside)


def count(model: Any) -> int:
    """Nodes of a ModelProto, those of bodies included, functions not."""
    return sum(1 for _ in inner_nodes(model.graph.node))

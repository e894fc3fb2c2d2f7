"""What every walk over a graph asks of a node: whose operator it is, what its attributes say, and its bodies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import onnx_ir as ir

STANDARD = ("", "ai.onnx")
"""The two names of ONNX's own domain."""
BODIES = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


class HasAttributes(Protocol):
    """A node, of a file or of a plan."""

    @property
    def attributes(self) -> Mapping[str, ir.Attr]: ...


def is_standard(node: ir.Node) -> bool:
    """Whether an operator is one of ONNX's own."""
    return node.domain in STANDARD


def opset(imports: Mapping[str, int], domain: str = "", default: int = 1) -> int:
    """The version that a model imports of a domain's operators, ai.onnx under either of its names."""
    names = STANDARD if domain in STANDARD else (domain,)
    return next((imports[name] for name in names if name in imports), default)


def attribute(node: HasAttributes, name: str, default: Any) -> Any:
    """The value of an attribute; the default where the node has none, or a function's argument stands for it."""
    found = node.attributes.get(name)
    return default if found is None or found.is_ref() else found.value


def integer(node: HasAttributes, name: str, default: int) -> int:
    """The value of an integer attribute; the default where the node has none of that type, as an operator of another
    domain may have another of that name."""
    found = node.attributes.get(name)
    known = found is not None and not found.is_ref() and found.type == ir.AttributeType.INT
    return found.as_int() if found is not None and known else default


def bodies(node: ir.Node) -> list[ir.Graph]:
    """The sub-graphs in a node's attributes."""
    found: list[ir.Graph] = []
    for given in node.attributes.values():
        if given.type in BODIES and not given.is_ref():
            found.extend([given.value] if given.type == ir.AttributeType.GRAPH else given.value)
    return found


def graphs(root: ir.Graph) -> Iterator[ir.Graph]:
    """A graph, then all in the bodies of its nodes."""
    yield root
    for node in root:
        for body in bodies(node):
            yield from graphs(body)


def named_twice(root: ir.Graph) -> Iterator[list[ir.Node]]:
    """Nodes of one graph that have the same name, two or more each in their order, at every depth. ONNX Runtime refuses
    such a graph (Graph::VerifyNoDuplicateName)."""
    for graph in graphs(root):
        named: dict[str, list[ir.Node]] = {}
        for node in graph:
            if node.name:
                named.setdefault(node.name, []).append(node)
        yield from (nodes for nodes in named.values() if len(nodes) > 1)


def proto_graphs(root: Any) -> Iterator[Any]:
    """The same of protobuf: a GraphProto, then all in its nodes' attributes."""
    yield root
    for node in root.node:
        for given in node.attribute:
            for body in (given.g, *given.graphs) if given.HasField("g") else given.graphs:
                yield from proto_graphs(body)

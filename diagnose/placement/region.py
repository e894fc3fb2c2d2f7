"""The graph as the partitioner sees it: regions (main graph or a control-flow body) of nodes in topological order."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxfix.nouns.runtime.kernels import Kernel
from onnxfix.nouns.types.operators import bodies
from onnxfix.nouns.types.schemas import canonical_domain


@dataclass(eq=False)
class PlannedNode:
    """One node to place. `expansion` holds the nodes of a function body, used if no provider has a kernel."""

    name: str
    op_type: str
    domain: str
    inputs: tuple[ir.Value | None, ...]
    outputs: tuple[ir.Value, ...]
    attributes: Mapping[str, ir.Attr]
    order: int
    captured: tuple[ir.Value, ...] = ()
    """Values that the bodies of a control-flow node read from outside."""
    regions: tuple[Region, ...] = ()
    expansion: tuple[PlannedNode, ...] = ()
    provider: str = ""
    kernel: Kernel | None = None
    reason: str = ""
    root: PlannedNode | None = None
    """For a node that runs on the CPU because its inputs are there: where that chain of host values begins."""

    widened: bool = False
    """Whether the node runs in float32 on the CPU between casts, for want of a float16 kernel."""
    inserted_for: PlannedNode | None = None
    """For such a cast: the node between the casts."""

    def outputs_named(self) -> Iterator[ir.Value]:
        return (v for v in self.outputs if v.name)

    def __str__(self) -> str:
        name = self.name or next((v.name or "" for v in self.outputs_named()), "")
        return f"{self.op_type} '{name}'"


@dataclass(eq=False)
class Region:
    """One graph. `parent` is the control-flow node that owns it, None for the main graph."""

    graph: ir.Graph
    nodes: list[PlannedNode] = field(default_factory=list)
    parent: PlannedNode | None = None

    def consumers(self) -> dict[ir.Value, list[PlannedNode]]:
        """Who reads a value in this graph; a control-flow node also reads what its bodies capture."""
        found: dict[ir.Value, list[PlannedNode]] = {}
        for node in self.nodes:
            for value in dict.fromkeys((*node.inputs, *node.captured)):
                if value is not None:
                    found.setdefault(value, []).append(node)
        return found

    def is_input(self, value: ir.Value) -> bool:
        """A formal input of this graph that no initializer stands for."""
        return value.is_graph_input() and value.graph is self.graph and value.name not in self.graph.initializers

    def expand(self, nodes: Collection[PlannedNode]) -> None:
        """Put the expansions of nodes in their place, all at once: sorting after each took 0.2 s for 28 layers."""
        gone = set(nodes)
        kept = [node for node in self.nodes if node not in gone]
        self.nodes = sorted_nodes([*kept, *(inner for node in nodes for inner in node.expansion)])

    def walk(self) -> Iterator[Region]:
        """This region, then those inside it."""
        yield self
        for node in self.nodes:
            for region in node.regions:
                yield from region.walk()


def regions_of(graph: ir.Graph, parent: PlannedNode | None = None) -> Region:
    """Regions of a graph and, through its control-flow nodes, of all graphs inside."""
    region = Region(graph, parent=parent)
    for order, node in enumerate(graph):
        region.nodes.append(_planned(node, order))
    region.nodes = sorted_nodes(region.nodes)
    return region


def _planned(node: ir.Node, order: int) -> PlannedNode:
    made = PlannedNode(
        name=node.name or "",
        op_type=node.op_type,
        domain=canonical_domain(node.domain),
        inputs=tuple(node.inputs),
        outputs=tuple(node.outputs),
        attributes=node.attributes,
        order=order,
    )
    made.regions = tuple(regions_of(body, made) for body in bodies(node))
    made.captured = captured(made.regions)
    return made


def captured(regions: Iterable[Region]) -> tuple[ir.Value, ...]:
    """Values that bodies read from outside."""
    return tuple(dict.fromkeys(value for region in regions for value in _captured(region)))


def _captured(region: Region) -> Iterator[ir.Value]:
    made = {value for node in region.nodes for value in node.outputs}
    own = {*region.graph.inputs, *region.graph.initializers.values(), *made}
    for node in region.nodes:
        yield from (v for v in (*node.inputs, *node.captured) if v is not None and v not in own)
    yield from (v for v in region.graph.outputs if v not in own)


def sorted_nodes(nodes: list[PlannedNode]) -> list[PlannedNode]:
    """Topological order, file order among the nodes that are ready."""
    producer = {value: node for node in nodes for value in node.outputs}
    waiting: dict[PlannedNode, int] = {}
    readers: dict[PlannedNode, list[PlannedNode]] = {}
    for node in nodes:
        sources = {producer[v] for v in (*node.inputs, *node.captured) if v is not None and v in producer} - {node}
        waiting[node] = len(sources)
        for source in sources:
            readers.setdefault(source, []).append(node)
    heap = [(node.order, index, node) for index, node in enumerate(nodes) if not waiting[node]]
    heapq.heapify(heap)
    result: list[PlannedNode] = []
    tick = len(nodes)
    while heap:
        node = heapq.heappop(heap)[2]
        result.append(node)
        for reader in readers.get(node, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                tick += 1
                heapq.heappush(heap, (reader.order, tick, reader))
    # should nodes put back for inlined ones ever form a cycle, none may get lost
    return result + [node for node in nodes if waiting[node]]

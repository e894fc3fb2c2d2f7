"""Nodes that the CUDA provider leaves to the CPU on purpose: arithmetic on shapes, whose values are in host memory.

Source: GetCpuPreferredNodes of ONNX Runtime (fallback_cpu_capability.cc). From each value that a CUDA kernel leaves in
host memory (Shape, Size) the chain runs downstream; a node joins it when everything it reads is cheap to have there.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxfix.diagnose.placement.lookup import Lookup
from onnxfix.diagnose.placement.region import PlannedNode, Region
from onnxfix.nouns.runtime.kernels import Kernel
from onnxfix.nouns.runtime.provider import placed_on

# ONNX Runtime's limit for an initializer that does not stop a chain, in elements.
SMALL_INITIALIZER = 100

# Types without CPU arithmetic end a chain.
_NARROW = ("tensor(float16)", "tensor(bfloat16)", "tensor(float8", "tensor(float4")


def cpu_preferred(region: Region, tentative: Mapping[PlannedNode, Kernel], lookup: Lookup) -> dict[PlannedNode, None]:
    """The tentative CUDA nodes that run on the CPU instead; each one's `root` says where its chain begins."""
    chain = _Chain(region, tentative, lookup)
    for node, kernel in tentative.items():
        for index, value in enumerate(node.outputs):
            if value.name and index in kernel.host_outputs:
                chain.add(value, node)
    return chain.follow()


@dataclass
class _Chain:
    region: Region
    tentative: Mapping[PlannedNode, Kernel]
    lookup: Lookup
    host: dict[ir.Value, PlannedNode] = field(default_factory=dict)
    """Values known to be in host memory, with the node where their chain begins."""
    omitted: bool = False
    """Whether a node with an omitted output has joined: from then on every omitted input counts as a host value."""

    def __post_init__(self) -> None:
        self.position = {node: index for index, node in enumerate(self.region.nodes)}
        self.consumers = self.region.consumers()
        self.queue: list[int] = []
        self.seen: set[int] = set()

    def add(self, value: ir.Value, root: PlannedNode) -> None:
        if not value.name:
            self.omitted = True
            return
        self.host.setdefault(value, root)
        for consumer in self.consumers.get(value, ()):
            heapq.heappush(self.queue, self.position[consumer])

    def follow(self) -> dict[PlannedNode, None]:
        moved: dict[PlannedNode, None] = {}
        while self.queue:
            index = heapq.heappop(self.queue)
            if index in self.seen:
                continue
            self.seen.add(index)
            node = self.region.nodes[index]
            if node in self.tentative:
                if all(self._is_cheap(node, i, value) for i, value in enumerate(node.inputs)):
                    moved[node] = None
                    node.root = self._root(node)
                    self._add_outputs(node, node.root)
            elif not placed_on(node.provider).device:
                self._add_outputs(node, node)
        return moved

    def _add_outputs(self, node: PlannedNode, root: PlannedNode) -> None:
        for value in node.outputs:
            self.add(value, root)

    def _root(self, node: PlannedNode) -> PlannedNode:
        """Where the chain of a node begins: at a node without a kernel rather than at a Shape, if both lead here."""
        roots = [self.host[v] for v in node.inputs if v is not None and v in self.host]
        return next((r for r in roots if r not in self.tentative), roots[0] if roots else node)

    def _is_cheap(self, node: PlannedNode, index: int, value: ir.Value | None) -> bool:
        if value is None or not value.name:
            return self.omitted
        if self.lookup.type_of(value).startswith(_NARROW):
            return False
        if value.is_initializer() and elements(value) <= SMALL_INITIALIZER:
            return True
        if self.region.is_input(value):
            return True
        return value in self.host and index not in self.tentative[node].host_inputs


def elements(value: ir.Value) -> int:
    """Number of elements of an initializer."""
    return value.const_value.size if value.const_value is not None else 0

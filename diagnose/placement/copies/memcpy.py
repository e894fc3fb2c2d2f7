"""The copies between device and host that ONNX Runtime inserts once every node has a provider.

Source: MemcpyTransformer of ONNX Runtime (transformer_memcpy.cc). One Memcpy node a value and graph, shared by all its
readers on the other side; initializers are duplicated instead, and what only enters or leaves the session is copied by
`Run`, not by a node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxfix.diagnose.placement.region import PlannedNode, Region
from onnxfix.nouns.plan import Direction
from onnxfix.nouns.runtime.provider import placed_on


@dataclass(frozen=True)
class Transfer:
    """One Memcpy node: the value, its producer in this region if any, and its readers on the other side."""

    direction: Direction
    value: ir.Value
    region: Region
    producer: PlannedNode | None
    readers: tuple[PlannedNode, ...]


@dataclass
class _Sides:
    """Where the values of one region are made and read. Keys keep graph order."""

    device_reads: dict[ir.Value, list[PlannedNode]] = field(default_factory=dict)
    host_reads: dict[ir.Value, list[PlannedNode]] = field(default_factory=dict)
    device_makes: dict[ir.Value, PlannedNode] = field(default_factory=dict)
    host_makes: dict[ir.Value, PlannedNode] = field(default_factory=dict)


def on_device(node: PlannedNode) -> bool:
    """Whether a node works on a device's memory: TensorRT's nodes share that of CUDA, and nothing is copied between the
    two. What TensorRT takes runs as one kernel that reads and writes device memory only."""
    return bool(placed_on(node.provider).device)


def transfers(region: Region) -> Iterator[Transfer]:
    """Every copy in a region and those inside it, in graph order."""
    for inner in region.walk():
        position = {node: index for index, node in enumerate(inner.nodes)}
        found = list(_region_transfers(inner))
        yield from sorted(found, key=lambda t: -1 if t.producer is None else position[t.producer])


def _region_transfers(region: Region) -> Iterator[Transfer]:
    sides = _sides(region)
    for value in _entering(region):
        if value in sides.device_reads and value in sides.host_reads:
            yield Transfer("from_host", value, region, None, tuple(sides.device_reads[value]))
    for value, producer in sides.host_makes.items():
        if value in sides.device_reads:
            yield Transfer("from_host", value, region, producer, tuple(sides.device_reads[value]))
    for value, producer in sides.device_makes.items():
        if value in sides.host_reads:
            yield Transfer("to_host", value, region, producer, tuple(sides.host_reads[value]))


def _entering(region: Region) -> Iterator[ir.Value]:
    """Inputs of the graph and, in a body, what it captures: initializers of outer graphs too (they are duplicated and
    copied, which the count of ONNX Runtime confirms)."""
    yield from (value for value in dict.fromkeys(region.graph.inputs) if region.is_input(value))
    if region.parent is not None:
        yield from region.parent.captured


def _sides(region: Region) -> _Sides:
    sides = _Sides()
    for node in region.nodes:
        device = on_device(node)
        host_inputs = node.kernel.host_inputs if node.kernel else frozenset()
        host_outputs = node.kernel.host_outputs if node.kernel else frozenset()
        for index, value in enumerate(node.inputs):
            if value is not None and value.name:
                reads = sides.device_reads if device and index not in host_inputs else sides.host_reads
                reads.setdefault(value, []).append(node)
        for index, value in enumerate(node.outputs):
            if value.name:
                made = sides.device_makes if device and index not in host_outputs else sides.host_makes
                made[value] = node
    return sides


def host_readers(region: Region, value: ir.Value) -> list[PlannedNode]:
    """The nodes of a region that need a value in host memory."""
    return _sides(region).host_reads.get(value, [])

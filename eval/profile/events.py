"""What ONNX Runtime's profiler wrote: one event a node and run, with the shapes that the node read and made.

ONNX Runtime 1.31 writes `<node name>_kernel_time` only; earlier ones wrote `_fence_before` and `_fence_after` besides,
which are waiting and not work. A node of a body has its event inside that of the If, Loop or Scan, whose time holds it.
Each microsecond is counted once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.operators import bodies

Shape = tuple[int, ...]

KERNEL = "_kernel_time"


@dataclass(frozen=True)
class Event:
    """One execution of a node. Times are microseconds; `read` and `made` are type and shape of tensors in
    order: weights that the runtime repacked are not in `read`, sequences in neither."""

    name: str
    op_type: str
    provider: str
    start: int
    duration: int
    read: tuple[tuple[str, Shape], ...]
    made: tuple[tuple[str, Shape], ...]


def by_run(events: Sequence[Mapping[str, Any]]) -> list[tuple[float, tuple[Event, ...]]]:
    """Milliseconds and node events of each run, by the times of `model_run`."""
    nodes = sorted((e for e in events if e["cat"] == "Node" and e["name"].endswith(KERNEL)), key=lambda e: int(e["ts"]))
    found, first = [], 0
    for run in sorted((e for e in events if e["name"] == "model_run"), key=lambda e: int(e["ts"])):
        last = first
        while last < len(nodes) and int(nodes[last]["ts"]) < run["ts"] + run["dur"]:
            last += 1
        found.append((run["dur"] / 1e3, tuple(_event(e) for e in nodes[first:last])))
        first = last
    return found


def _event(raw: Mapping[str, Any]) -> Event:
    arguments = raw["args"]
    return Event(
        name=raw["name"].removesuffix(KERNEL),
        op_type=arguments["op_name"],
        provider=arguments.get("provider", ""),
        start=int(raw["ts"]),
        duration=int(raw["dur"]),
        read=_tensors(arguments.get("input_type_shape")),
        made=_tensors(arguments.get("output_type_shape")),
    )


def _tensors(raw: Sequence[Mapping[str, Sequence[int]]] | None) -> tuple[tuple[str, Shape], ...]:
    return tuple((kind, tuple(shape)) for tensor in raw or () for kind, shape in tensor.items())


def node_times(ran: ir.Model, runs: Sequence[Sequence[Event]], feeds: int) -> dict[str, tuple[Event, Any]]:
    """Node name → its first event and milliseconds by run, shape (runs,), in the order in which nodes first ran.

    `runs`: events of each run on each feed, all feeds before the next run. A node that ran on one feed only counts as 0
    where it did not.
    """
    count = len(runs) // feeds
    found: dict[str, tuple[Event, Any]] = {}
    for index, events in enumerate(runs):
        for event in outermost(ran, events):
            _, ms = found.setdefault(event.name, (event, np.zeros(count)))
            ms[index // feeds] += event.duration / 1e3
    return found


def outermost(ran: ir.Model, events: Sequence[Event]) -> list[Event]:
    """Events that are inside no other node's. Names tell first: an event of 0 us may end when an If starts."""
    main = {node.name for node in ran.graph}
    inner = {node.name for node in ran.graph.all_nodes() if node.graph is not ran.graph}
    control = {node.name for node in ran.graph.all_nodes() if bodies(node)}
    spans = [(e.start, e.start + e.duration) for e in events if e.name in control]

    def inside(event: Event) -> bool:
        if event.name in inner and event.name in main:  # fused nodes in both graphs: the event's time decides
            return any(start <= event.start and event.start + event.duration <= end for start, end in spans)
        return event.name in inner

    return [event for event in events if not inside(event)]


def name_expanded(ran: ir.Model, source: ir.Model, events: Iterable[Event]) -> None:
    """Give the nameless nodes of the graph that ran the names of their events, where each operator has as many of the
    one as of the other.

    ONNX Runtime makes nameless nodes of an operator without a kernel, as Cast of CastLike, and names their events by
    operator and index in the session's graph, `Cast_247`. It expands such operators in the order of the file, so that
    the lowest index is that of the first.
    """
    nodes = list(ran.graph.all_nodes())
    taken = {node.name for node in nodes}
    names: dict[str, set[str]] = defaultdict(set)
    for event in events:
        if event.name not in taken and event.name.removeprefix(f"{event.op_type}_").isdigit():
            names[event.op_type].add(event.name)
    place = {v.name: i for i, n in enumerate(source.graph.all_nodes()) for v in n.outputs}
    for op_type, found in names.items():
        nameless = [node for node in nodes if not node.name and node.op_type == op_type]
        if len(nameless) == len(found):
            nameless.sort(key=lambda node: place.get(node.outputs[0].name, len(place)))
            for node, name in zip(nameless, sorted(found, key=lambda name: int(name.rpartition("_")[2])), strict=True):
                node.name = name

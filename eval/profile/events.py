"""What ONNX Runtime's profiler wrote: one event a node and run, with the shapes that the node read and made.

ONNX Runtime 1.31 writes `<node name>_kernel_time` only; earlier ones wrote `_fence_before` and `_fence_after` besides,
which are waiting and not work. A node of a body has its event inside that of the If, Loop or Scan, whose time holds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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

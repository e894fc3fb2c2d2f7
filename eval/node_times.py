"""Time of each node from the profiler's events, each microsecond counted once: bodies are in their control flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.eval.profile.computed_constants import has_body
from onnxfix.eval.profile.events import Event


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
    control = {node.name for node in ran.graph.all_nodes() if has_body(node)}
    spans = [(e.start, e.start + e.duration) for e in events if e.name in control]

    def inside(event: Event) -> bool:
        if event.name in inner and event.name in main:  # of two fused nodes only time tells which
            return any(start <= event.start and event.start + event.duration <= end for start, end in spans)
        return event.name in inner

    return [event for event in events if not inside(event)]

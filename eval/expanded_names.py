"""Names for nodes that have none: those that ONNX Runtime makes of an operator without a kernel, as Cast of CastLike.

Their events are named by operator and index in the session's graph, `Cast_247`. The runtime expands such operators in
the order of the file, so that the lowest index is that of the first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import onnx_ir as ir

from onnxfix.eval.profile.events import Event


def name_expanded(ran: ir.Model, source: ir.Model, events: Iterable[Event]) -> None:
    """Give the nameless nodes of the graph that ran the names of their events, where each operator has as many of the
    one as of the other."""
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

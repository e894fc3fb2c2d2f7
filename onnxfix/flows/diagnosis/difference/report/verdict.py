"""One line that says whether two models are the same, and if not what changed most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from onnxfix.render.words import listed, plural

from .weights import KINDS

if TYPE_CHECKING:
    from onnxfix.flows.diagnosis.difference.difference import Difference

CHANGED = ("rounded", "widened", "quantized", "cut", "joined", "other values")
"""Kinds that the verdict names: the others are told by nodes."""


def verdict(found: Difference) -> str:
    """`the same graph; names differ`, or `different: 115 nodes gone, 4 altered, 28 weights rounded`."""
    if found.same:
        besides = list(_besides(found))
        verb = "differs" if len(besides) == 1 and besides[0].startswith(("order", "metadata", "storage")) else "differ"
        return f"the same graph; {listed(besides)} {verb}" if besides else "the same"
    return f"different: {', '.join(_counted(found)) or 'how its outputs are computed'}"


def _counted(found: Difference) -> Iterator[str]:
    ports = [port.kind for port in found.ports if port.counts]
    yield from (f"{plural(ports.count(kind), kind)}" for kind in ("input", "output") if kind in ports)
    yield from (f"{fact.name} {fact.before} → {fact.after}" for fact in found.facts if fact.counts)
    said = (("gone", found.nodes.removed), ("new", found.nodes.added), ("altered", found.nodes.altered))
    counts = [(word, count) for word, count in said if count]
    yield from (f"{plural(count, 'node') if not i else f'{count:,}'} {word}" for i, (word, count) in enumerate(counts))
    kinds = [(kind, sum(len(g.names) for g in found.weights.groups if g.kind == kind)) for kind in KINDS]
    yield from (
        f"{plural(count, 'weight')} {'with other values' if kind == 'other values' else kind}"
        for kind, count in kinds
        if count and kind in CHANGED
    )
    for word, left in (("gone", found.weights.removed), ("new", found.weights.added)):
        if left:
            yield f"{plural(len(left), 'weight')} {word}"


def _besides(found: Difference) -> Iterator[str]:
    if found.names.nodes or found.names.values or any("axes" in port.changes for port in found.ports):
        yield "names"
    if found.names.moved:
        yield "order of nodes"
    if found.facts:
        yield "metadata"
    before, after = found.weights.before, found.weights.after
    if (before.tensors, before.bytes, before.copies) != (after.tensors, after.bytes, after.copies):
        yield "storage of weights"

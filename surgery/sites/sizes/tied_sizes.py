"""Axes that are one size under two names, as exporters give each input names of its own: found by walking."""

from __future__ import annotations

import itertools

import onnx_ir as ir

from .probe import Probe, Sizes, free_axes, generic, probe


def tied(graph: ir.Graph, turn: int) -> Sizes | None:
    """Generic sizes with as few of them equal as the graph needs to fit; None where that is not enough."""
    axes = free_axes(graph)
    order = {node: index for index, node in enumerate(graph.all_nodes())}
    sizes: Sizes = generic(axes, turn)
    at = probe(graph, sizes)
    for _ in axes:
        if not at.misfits:
            return sizes
        tries = [_as_one(sizes, one.name, other.name) for one, other in itertools.combinations(axes, 2)]
        walks = [(tried, probe(graph, tried)) for tried in tries if tried != sizes]
        best = max(walks, key=lambda walk: _reached(walk[1], order), default=None)
        if best is None or _reached(best[1], order) <= _reached(at, order):
            return None
        sizes, at = best
    return None if at.misfits else sizes


def _as_one(sizes: Sizes, one: str, other: str) -> Sizes:
    """All axes of the other one's size get that of the first."""
    return {name: sizes[one] if size == sizes[other] else size for name, size in sizes.items()}


def _reached(at: Probe, order: dict[ir.Node, int]) -> int:
    return order[at.misfits[0].node] if at.misfits else len(order)

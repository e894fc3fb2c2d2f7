"""Axes that are one size under two names, as exporters give each input names of its own: found by walking.

Two axes of one input are never taken for one: a graph that fits where batch and length are equal fits nowhere else.
"""

from __future__ import annotations

import itertools

import onnx_ir as ir

from .probe import Axis, Probe, Sizes, free_axes, generic, probe


def tied(graph: ir.Graph, turn: int) -> Sizes | None:
    """Generic sizes with as few of them equal as the graph needs to fit; None where that is not enough."""
    axes = free_axes(graph)
    order = {node: index for index, node in enumerate(graph.all_nodes())}
    sizes: Sizes = generic(axes, turn)
    at = probe(graph, sizes)
    for _ in axes:
        if not at.misfits:
            return sizes
        best = _best(graph, axes, [[pair] for pair in itertools.combinations(axes, 2)], sizes, order)
        if best is None or _reached(best[1], order) <= _reached(at, order):
            alike = [(one, other) for one, other in itertools.combinations(axes, 2) if _place(one) == _place(other)]
            two = [list(pairs) for pairs in itertools.combinations(alike, 2)]
            best = _best(graph, axes, two, sizes, order)
        if best is None or _reached(best[1], order) <= _reached(at, order):
            return None
        sizes, at = best
    return None if at.misfits else sizes


def _best(
    graph: ir.Graph, axes: list[Axis], tries: list[list[tuple[Axis, Axis]]], sizes: Sizes, order: dict[ir.Node, int]
) -> tuple[Sizes, Probe] | None:
    """The sizes at which a walk gets furthest, of those with the axes of one of these ties made one."""
    walks = []
    for ties in tries:
        tried: Sizes | None = sizes
        for one, other in ties:
            apart = tried is not None and not _inputs(axes, tried, one) & _inputs(axes, tried, other)
            tried = _as_one(tried, one.name, other.name) if apart and tried is not None else None
        if tried is not None:
            walks.append((tried, probe(graph, tried)))
    return max(walks, key=lambda walk: _reached(walk[1], order), default=None)


def _place(axis: Axis) -> int:
    return axis.places[0][1]


def _inputs(axes: list[Axis], sizes: Sizes, of: Axis) -> set[ir.Value]:
    """The inputs that have an axis, or one that is taken for it."""
    return {value for axis in axes if sizes[axis.name] == sizes[of.name] for value, _ in axis.places}


def _as_one(sizes: Sizes, one: str, other: str) -> Sizes:
    """All axes of the other one's size get that of the first."""
    return {name: sizes[one] if size == sizes[other] else size for name, size in sizes.items()}


def _reached(at: Probe, order: dict[ir.Node, int]) -> int:
    return order[at.misfits[0].node] if at.misfits else len(order)

"""Axes that are declared dynamic and work at one size alone: a number of the export stands in the graph.

Found by walking the graph at sizes of no meaning: the first node that refuses them names numbers that would fit. A size
is baked if the graph fits at it, whatever the other axes are, and at no other: smaller ones, multiples and neighbours
are tried, so that limits (a table of 512 positions) and steps (sides of 32 pixels) are none.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import onnx_ir as ir

from .probe import Axis, Misfit, Probe, Sizes, free_axes, generic, probe

_STEPS = 24


@dataclass(frozen=True)
class Baked:
    """An axis that works at `size` alone, and the node that refuses others."""

    axis: Axis
    size: int
    misfit: Misfit
    sizes: Sizes
    """Sizes of all axes at which the graph fits."""


def find(graph: ir.Graph) -> list[Baked]:
    """The axes of a graph's inputs that are frozen; none where nothing is known. One walk for a graph that is sound."""
    axes = free_axes(graph)
    first = _Search(graph, axes, 0).run()
    second = _Search(graph, axes, 1).run() if first else {}
    agreed = [found for name, found in first.items() if name in second and second[name].size == found.size]
    return [found for found in agreed if not any(_fits(graph, found, size) for size in _others(found))]


def _fits(graph: ir.Graph, found: Baked, size: int) -> bool:
    """With axes that are the same under another name. A batch of one goes with any rows that stand beside it, and makes
    as many of it: outputs tell."""
    tied = [name for name, each in found.sizes.items() if each == found.size]
    at, usual = (probe(graph, {**found.sizes, **dict.fromkeys(tied, each)}) for each in (size, found.size))
    return not at.misfits and at.untrue <= usual.untrue


def _others(found: Baked) -> list[int]:
    """Other sizes that would work were the axis free, or bound to a step or to a limit."""
    c, generic_size = found.size, 7 * max(d for d in found.sizes.values())
    near = (c // 2, c - 1, c + 1, c + 2, c + 16, 2 * c, 3 * c, 10 * c, 1, 2, 3, 32, 64, 96, 160, generic_size)
    return sorted({size for size in near if size > 0} - {c})


class _Search:
    """Sizes at which the graph fits, from generic ones: each step gives one axis a number, or the size of another."""

    def __init__(self, graph: ir.Graph, axes: list[Axis], turn: int) -> None:
        self.graph, self.axes = graph, axes
        self.sizes = generic(axes, turn)
        self.order = {node: index for index, node in enumerate(graph.all_nodes())}
        self.found: dict[str, Baked] = {}
        self.open = {axis.name for axis in axes}

    def run(self) -> dict[str, Baked]:
        """By name; empty where no sizes are found at which the graph fits."""
        at = probe(self.graph, self.sizes)
        for _ in range(_STEPS):
            if not at.misfits:
                return {name: replace(found, sizes=self.sizes) for name, found in self.found.items()}
            at_next = self._step(at)
            if at_next is None:
                return {}
            at = at_next
        return {}

    def _step(self, at: Probe) -> Probe | None:
        """The same axis of another input, where that is past the first misfit: rows of a mask may go by another name
        than those of ids, and where that fits, a batch of one fits as well. Else the number that lets the walk get
        furthest, or the axis that must equal another."""
        missed = at.misfits[0]
        best: tuple[tuple[bool, int, int], str, int, Probe] | None = None
        for name in (axis.name for axis in self.axes if axis.name in self.open):
            alike = self._alike(name)
            for size in self._candidates(name, missed, at):
                tried = probe(self.graph, self._with(name, size))
                reached = size in alike, self._reached(tried), -len(tried.untrue)
                if reached[1] > self.order[missed.node] and (best is None or reached > best[0]):
                    best = reached, name, size, tried
        if best is None:
            return None
        _, name, size, tried = best
        equal = [axis for axis in self.axes if axis.name != name and self.sizes[axis.name] == size]
        if not equal:
            axis = next(axis for axis in self.axes if axis.name == name)
            self.found[name] = Baked(axis, size, missed, {})
        self.open.discard(name)
        self.sizes = self._with(name, size)
        return tried

    def _with(self, name: str, size: int) -> dict[str, int]:
        """An axis of another size, and those that have been told to be the same."""
        return {each: size if old == self.sizes[name] else old for each, old in self.sizes.items()}

    def _reached(self, at: Probe) -> int:
        return self.order[at.misfits[0].node] if at.misfits else len(self.order)

    def _candidates(self, name: str, missed: Misfit, at: Probe) -> list[int]:
        """What an axis would have to be for two numbers of the node to agree, one of which holds it as a factor."""
        size = self.sizes[name]
        numbers = sorted(set(_numbers(missed.node, at)))
        held = [n // size for n in numbers if n and n % size == 0]
        found = {n // factor for n, factor in itertools.product(numbers, held) if n > 0 and n % factor == 0}
        return sorted(found - {size})[:_STEPS]

    def _alike(self, name: str) -> set[int]:
        """Sizes of axes that stand at the same place in other inputs, and are none of its own yet."""
        own = next(axis for axis in self.axes if axis.name == name)
        inputs, at = {value for value, _ in own.places}, {place for _, place in own.places}
        others = (axis for axis in self.axes if axis is not own and not inputs & {value for value, _ in axis.places})
        found = {self.sizes[axis.name] for axis in others if at & {place for _, place in axis.places}}
        return found - {self.sizes[name]}


def _numbers(node: ir.Node, at: Probe) -> Iterator[int]:
    """All sizes at a node: of its operands' axes, of the whole operands, and those that it is told."""
    for value in node.inputs:
        if value is None:
            continue
        shape = at.shapes.get(value, ())
        yield from (*shape, math.prod(shape))
        told = at.numbers.get(value)
        if told is not None and told.dtype.kind in "iu":
            sizes = [int(n) for n in told.reshape(-1)]
            yield from (*sizes, math.prod(n for n in sizes if n > 0), sum(sizes))

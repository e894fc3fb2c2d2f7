"""Sizes that the file declares of a value and that the graph contradicts: a name of an input's axis, or a number.

ONNX Runtime believes them: values whose declared shapes are equal share memory, so that a wrong name ends in "Shape
mismatch attempting to re-use buffer" at a node that is right, or does not, by luck (microsoft/onnxruntime#14582).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.surgery.sites.shapes.product_operations import Shape

from . import baked_sizes
from .expressions import evaluate
from .probe import Sizes, free_axes, generic, probe

Declared = int | str | None
"""A size as a file states it: a number, a name, or open."""


@dataclass(frozen=True)
class Contradiction:
    """One value. `declared` is what the file says; `found` what the graph makes of it, None for an axis of a size that
    no name of an input tells, and an empty tuple for a rank that differs, of which nothing is kept."""

    value: ir.Value
    declared: tuple[Declared, ...]
    found: tuple[Declared, ...]
    made: tuple[Shape, Shape]
    """The shapes that the graph makes at two sizes of its inputs."""

    @property
    def axes(self) -> tuple[int, ...]:
        """Where they differ; none for a rank that differs."""
        if len(self.declared) != len(self.made[0]):
            return ()
        return tuple(i for i, (a, b) in enumerate(zip(self.declared, self.found, strict=True)) if a != b)


def find(graph: ir.Graph) -> list[Contradiction]:
    """The values of a graph whose declared shape is wrong, at sizes at which the graph fits; two walks."""
    axes = free_axes(graph)
    if not any(_declared(value) for value in _stated(graph)):
        return []
    frozen = {found.axis.name: found.size for found in baked_sizes.find(graph)}
    sizes = [{**generic(axes, turn), **frozen} for turn in (0, 1)]
    first, second = (probe(graph, each) for each in sizes)
    if first.misfits or second.misfits:
        return []
    known = [(v, (first.shapes[v], second.shapes[v])) for v in _stated(graph)
             if v in first.shapes and v in second.shapes]  # fmt: skip
    free = _Free(known, sizes[0])
    return [wrong for value, made in known if (wrong := _contradiction(value, made, (sizes[0], sizes[1]), free))]


class _Free:
    """Names that no input has: one size each, the commonest that the graph makes of it."""

    def __init__(self, known: list[tuple[ir.Value, tuple[Shape, Shape]]], sizes: Sizes) -> None:
        counts: dict[str, Counter[tuple[int, int]]] = {}
        for value, (first, second) in known:
            for name, *made in zip(_declared(value), first, second, strict=False):
                if isinstance(name, str) and evaluate(name, sizes) is None:
                    counts.setdefault(name, Counter())[made[0], made[1]] += 1
        self.sizes = {name: found.most_common(1)[0][0] for name, found in counts.items()}


def _contradiction(
    value: ir.Value, made: tuple[Shape, Shape], sizes: tuple[Sizes, Sizes], free: _Free
) -> Contradiction | None:
    declared = _declared(value)
    if len(declared) != len(made[0]):
        return Contradiction(value, declared, (), made)
    found = tuple(_found(said, pair, sizes, free) for said, pair in zip(declared, zip(*made, strict=True), strict=True))
    return Contradiction(value, declared, found, made) if found != declared else None


def _found(said: Declared, made: tuple[int, ...], sizes: tuple[Sizes, Sizes], free: _Free) -> Declared:
    """What is right of an axis: what is declared, wherever that holds."""
    if said is None or made == _meant(said, sizes, free):
        return said
    if made[0] == made[1]:
        return made[0]
    return next((name for name in sizes[0] if made == (sizes[0][name], sizes[1][name])), None)


def _meant(said: int | str, sizes: tuple[Sizes, Sizes], free: _Free) -> tuple[int | None, ...]:
    if isinstance(said, int):
        return said, said
    if said in free.sizes:
        return free.sizes[said]
    return tuple(evaluate(said, each) for each in sizes)


def _declared(value: ir.Value) -> tuple[Declared, ...]:
    """Sizes below zero are open ones, as some exporters write them."""
    sizes = value.shape if value.shape is not None else ()
    return tuple((d if d >= 0 else None) if isinstance(d, int) else d.value or None for d in sizes)


def _stated(graph: ir.Graph) -> Iterator[ir.Value]:
    """What nodes make and the file states a shape of."""
    return (v for node in graph for v in node.outputs if v.shape is not None and len(v.shape))

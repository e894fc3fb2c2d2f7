"""Sizes of a model's axes at a batch and a length, and the shapes that its values have then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.types.input_roles import role
from onnxfix.surgery.sites.constants import Array, constant_tensor
from onnxfix.surgery.sites.shapes.product_operations import Shape
from onnxfix.surgery.sites.sizes.expressions import evaluate
from onnxfix.surgery.sites.sizes.probe import IMAGE_STEP, Axis, free_axes, probe

CACHE_RANK = 4  # [batch, heads, past, size]


@dataclass(frozen=True)
class Point:
    """Sizes to try: `past` is the number of keys in a cache."""

    batch: int
    length: int
    past: int = 0


BASE = (Point(3, 17), Point(1, 150), Point(2, 1200))
WITH_PAST = Point(3, 5, 3)


class Grid:
    """Of one graph, which must not change meanwhile."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._axes = free_axes(graph)
        self._constants: dict[ir.Value, Shape] = {}
        self._numbers: dict[ir.Value, Array] = {}
        self._walked: dict[Point, dict[ir.Value, Shape]] = {}
        texts = [v for v in graph.inputs if v.name not in graph.initializers and _is_text(v)]
        self._has_text = bool(texts)
        kinds = {axis.name: self._kind(axis) for axis in self._axes}
        self.has_past = "past" in kinds.values()
        self._kinds = {name: "total" if kind == "mask" and self.has_past else "length" if kind == "mask" else kind
                       for name, kind in kinds.items()}  # fmt: skip
        self.batch = _stated(texts, 0)
        """Where the file fixes it, else None; `length` alike."""
        self.length = _stated(texts, 1)

    @property
    def has_length(self) -> bool:
        """Whether texts of several lengths can be given."""
        return self.length is None and any(kind in ("length", "total") for kind in self._kinds.values())

    def _kind(self, axis: Axis) -> str:
        ranks = {len(value.shape or ()) for value, _ in axis.places}
        places = {index for _, index in axis.places}
        if places == {0} and max(ranks) > 1:
            return "batch"
        if self._has_text and min(ranks) == CACHE_RANK and places == {2}:
            return "past"
        if axis.side:
            return "side"
        return "mask" if all(role(value) == "mask" for value, _ in axis.places) else "length"

    def sizes(self, point: Point) -> dict[str, int]:
        """Size by the name of a free axis."""
        known = {"batch": point.batch, "length": point.length, "past": point.past,
                 "total": point.past + point.length, "side": IMAGE_STEP}  # fmt: skip
        return {name: known[kind] for name, kind in self._kinds.items()}

    def given(self, value: ir.Value, point: Point) -> Shape | None:
        """The shape of an input of the graph."""
        sizes = self.sizes(point)
        made = [
            size if isinstance(size, int) and size >= 0 else evaluate(_name(size, axis), sizes)
            for axis, size in enumerate(value.shape or ())
        ]
        return None if value.shape is None or None in made else tuple(size for size in made if size is not None)

    def shape(self, value: ir.Value, point: Point) -> Shape | None:
        """The shape of any value of the graph, None where it is not known."""
        if point in self._walked or point.length > BASE[-1].length:
            return self._walk(point).get(value)
        shapes = [self._walk(each).get(value) for each in self.base]
        known = [shape for shape in shapes if shape is not None]
        if not known:
            return None
        if len(known) < len(shapes) or len({len(shape) for shape in known}) > 1:
            return self._walk(point).get(value)  # a stored mask ends before the longest
        sizes = [_grown(sizes, self.base, point) for sizes in zip(*known, strict=True)]
        grown = tuple(size for size in sizes if size is not None)
        return grown if len(grown) == len(sizes) else self._walk(point).get(value)

    @property
    def base(self) -> tuple[Point, ...]:
        """Points that tell how sizes grow."""
        return (*BASE, WITH_PAST) if self.has_past else BASE

    def _walk(self, point: Point) -> dict[ir.Value, Shape]:
        if point not in self._walked:
            found = probe(self._graph, self.sizes(point), (self._constants, self._numbers), inferred=True)
            self._walked[point] = found.shapes
            if not self._constants:  # two fifths of the time of a walk is reading them
                self._constants = {v: shape for v, shape in found.shapes.items() if constant_tensor(v) is not None}
                self._numbers = {v: found.numbers[v] for v in self._constants if v in found.numbers}
        return self._walked[point]


def _grown(sizes: Sequence[int], base: Sequence[Point], point: Point) -> int | None:
    """The size at a point of an axis that is as long as the batch, the text, or always the same; None for others. A
    walk takes 0.2 s for 28 layers, and most axes are of these."""
    if len(set(sizes)) == 1:
        return sizes[0]
    ways = zip(_lengths(point), *map(_lengths, base), strict=True)
    return next((size for size, *known in ways if known == list(sizes)), None)


def _lengths(point: Point) -> tuple[int, ...]:
    return point.batch, point.length, point.past, point.length + point.past


def _name(size: int | ir.SymbolicDim, axis: int) -> str:
    return (size.value if isinstance(size, ir.SymbolicDim) else None) or f"#{axis}"


def _is_text(value: ir.Value) -> bool:
    return value.shape is not None and len(value.shape) == 2 and role(value) != "position"


def _stated(values: list[ir.Value], axis: int) -> int | None:
    sizes = {size for v in values if v.shape is not None and isinstance(size := v.shape[axis], int) and size > 0}
    return min(sizes) if sizes else None

"""Sizes of the dimensions of made-up inputs: by name, by arithmetic on names, by what reads them, by their place."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxfix.nouns.types.input_roles import role

from .uses.demands import Demands
from .uses.numbers import COUNTS, Range
from .uses.standards import Standard


@dataclass(frozen=True)
class Plan:
    """Sizes of one feed's named dimensions."""

    name: str
    batch: int
    length: int
    side: int
    padded: bool = False
    demands: Demands = field(default_factory=Demands)
    names: frozenset[str] = frozenset()
    """Of all dimensions: `batch-size` is one, and no difference of two."""
    drawn: bool = False
    """One of many small feeds, whose float inputs have a `loudness` by chance."""
    loudness: tuple[float, ...] = (1.0,)
    settings: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Of inputs that stand for a setting: the numbers that the model knows."""
    cached: int | None = None
    """Positions of a cache, where a feed states them."""
    first: int = 0
    """The position of the first token."""
    kinds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Of inputs of several integers that are compared with some: those and their neighbours."""
    lengths: Mapping[str, int] = field(default_factory=dict)
    """Inputs that say how many tokens or frames of a row there are, and the most that they may say."""

    numbers: Mapping[str, Range] = field(default_factory=dict)
    """Integer inputs that are computed with, and the numbers that each may be."""

    standards: Mapping[str, Standard] = field(default_factory=dict)
    """Inputs that the model brings to one size itself, and what they are of."""

    def floats(self, value: ir.Value, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
        """What a float input gets: about 0 and of size 1, or as loud as a draw is, or of the standard that it has."""
        loudness = rng.choice(self.loudness) if self.drawn else 1.0
        noise = np.asarray(loudness * rng.standard_normal(shape))
        standard = self.standards.get(str(value.name))
        return standard.of(noise) if standard is not None else noise

    def number(self, value: ir.Value, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int64] | None:
        """What an input gets that is computed with, in draws as loud as floats are; None for any other."""
        held = self.numbers.get(str(value.name))
        if held is None:
            return None
        standard = self.standards.get(str(value.name))
        if standard is not None and standard.is_far and held == COUNTS:
            return np.clip(np.rint(standard.of(rng.standard_normal(shape))), *_bounds(value)).astype(np.int64)
        found = rng.integers(*held, shape)
        return np.trunc(found * rng.choice(self.loudness)).astype(np.int64) if self.drawn else np.asarray(found)

    def setting(self, value: ir.Value, rng: np.random.Generator) -> int | None:
        """The number that a setting gets: the first that is known, in a draw any, and now and then another one."""
        known = self.settings.get(str(value.name), ())
        at = int(rng.integers(len(known) + 1)) if self.drawn and known else 0
        return known[at] if at < len(known) else None

    def kind(self, value: ir.Value, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int64] | None:
        """Any of the numbers that an input is told apart by; None for any other."""
        least, most = _bounds(value)
        known = [number for number in self.kinds.get(str(value.name), ()) if least <= number <= most]
        return np.asarray(rng.choice(known, shape), np.int64) if known else None

    def steps(self, value: ir.Value, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int64] | None:
        """The numbers that a length gets, from 1 on: of 0 tokens a mean or a softmax is NaN. The first row is as long
        as can be, unless it is a draw of one; None for what is no length."""
        most = min(self.lengths.get(str(value.name), 0), max(self.length, 1))
        if not most:
            return None
        found = rng.integers(1, most + 1, shape)
        if found.size and not (self.drawn and found.size == 1):
            found.reshape(-1)[0] = most
        return np.asarray(found)

    @property
    def past(self) -> int:
        """Positions of a cache: short, next to any length, and a size no other dimension has."""
        return self.batch + 2 if self.cached is None else self.cached


def _bounds(value: ir.Value) -> tuple[int, int]:
    """The least and the largest number of an integer input's type."""
    held = ml_dtypes.iinfo((value.dtype or ir.DataType.INT64).numpy())  # type: ignore[no-untyped-call]
    return int(held.min), int(held.max)


def shape_of(
    value: ir.Value, plan: Plan, sizes: dict[str, int], stated: Mapping[str, tuple[int, ...]]
) -> tuple[int, ...]:
    """The shape that an input gets: stated, else static sizes and what its dimension names are in this feed."""
    if str(value.name) in stated:
        return stated[str(value.name)]
    dims = list(value.shape) if value.shape is not None else [ir.SymbolicDim(None)] * (2 if role(value) else 1)
    return tuple(
        dim if isinstance(dim, int) else _size(str(dim.value or ""), axis, value, plan, sizes)
        for axis, dim in enumerate(dims)
    )


def _size(name: str, axis: int, value: ir.Value, plan: Plan, sizes: dict[str, int]) -> int:
    """Size of a dynamic dimension; arithmetic such as `past_sequence_length + sequence_length` is that of its parts."""
    if not name:
        return sizes.get(f"#{axis}", _by_axis(axis, value, plan))
    if name not in sizes:
        computed = _computed(name, axis, value, plan, sizes)
        sizes[name] = _fresh_size(name, axis, value, plan) if computed is None else computed
    return sizes[name]


def _computed(name: str, axis: int, value: ir.Value, plan: Plan, sizes: dict[str, int]) -> int | None:
    """The number that a name stands for that is arithmetic on others; None for any other name."""
    try:
        tree = ast.parse(name.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None

    def of(part: ast.expr) -> int:
        if isinstance(part, ast.Constant) and isinstance(part.value, int):
            return part.value
        if isinstance(part, ast.Name):
            return _size(part.id, axis, value, plan, sizes)
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Add | ast.Sub | ast.Mult | ast.FloorDiv):
            names = {each.id for each in (part.left, part.right) if isinstance(each, ast.Name)}
            if not isinstance(part.op, ast.Add) and not names <= plan.names:
                raise TypeError
            left, right = of(part.left), of(part.right)
            match part.op:
                case ast.Add():
                    return left + right
                case ast.Sub():
                    return max(left - right, 0)
                case ast.Mult():
                    return left * right
            return left // max(right, 1)
        raise TypeError

    try:
        return of(tree) if isinstance(tree, ast.BinOp) else None
    except (TypeError, RecursionError):
        return None


def _fresh_size(name: str, axis: int, value: ir.Value, plan: Plan) -> int:
    lowered = name.lower()
    if "batch" in lowered:
        return plan.batch
    if (str(value.name), axis) in plan.demands.stepped:
        return plan.length
    if "past" in lowered or (str(value.name), axis) in plan.demands.grown:
        return plan.past
    if "seq" in lowered or "length" in lowered:
        return plan.length
    if "height" in lowered or "width" in lowered:
        return plan.side
    return 3 if "channel" in lowered else _by_axis(axis, value, plan)


def _by_axis(axis: int, value: ir.Value, plan: Plan) -> int:
    """Unnamed dimensions: axis 0 is the batch, axes of a text input the length, axes of an image its sides."""
    place = (str(value.name), axis)
    if place in plan.demands.sizes:
        return plan.demands.sizes[place]
    if place in plan.demands.grown:
        return plan.past
    if place in plan.demands.stepped:
        return plan.length
    if axis == 0:
        return plan.batch
    rank = len(value.shape) if value.shape is not None else 2
    if rank == 4 and not role(value):
        return 3 if axis == 1 else plan.side
    return plan.length

"""Sizes of the dimensions of made-up inputs: by name, by arithmetic on names, by what reads them, by their place."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.input_roles import role

from .demands import Demands


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
    lengths: frozenset[str] = frozenset()
    """Inputs that say how many tokens or frames of a row there are."""
    cached: int | None = None
    """Positions of a cache, where a feed states them."""
    first: int = 0
    """The position of the first token."""

    def setting(self, value: ir.Value, rng: np.random.Generator) -> int | None:
        """The number that a setting gets: the first that is known, in a draw any, and now and then another one."""
        known = self.settings.get(str(value.name), ())
        at = int(rng.integers(len(known) + 1)) if self.drawn and known else 0
        return known[at] if at < len(known) else None

    @property
    def past(self) -> int:
        """Positions of a cache: short, next to any length, and a size no other dimension has."""
        return self.batch + 2 if self.cached is None else self.cached


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
    if axis == 0:
        return plan.batch
    rank = len(value.shape) if value.shape is not None else 2
    if rank == 4 and not role(value):
        return 3 if axis == 1 else plan.side
    return plan.length

"""Feeds: named inputs to run a model on, made up from its input types, shapes and dimension names, or read from .npz.

A text encoder gets three feeds of three different batch × length shapes (no padding, padding at the right, 512
tokens), so that an axis an exporter froze cannot go unnoticed. Any other model gets two feeds of different sizes.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.opening import plain
from onnxfix.surgery.sites.sizes import baked_sizes

from .demands import Axis, Demands, demands
from .graph_limits import longest_sequence, table_rows

LONG = 512
IMAGE_SIDES = (64, 96)  # multiples of 32: the total stride of common convolutional networks
SMALL_INTEGERS = 2  # unknown integer inputs are often flags, segment numbers or indices: 0 and 1 are valid for all


@dataclass(frozen=True)
class Feed:
    """One set of inputs: input name → array."""

    name: str
    arrays: dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class _Plan:
    """Sizes of one feed's named dimensions."""

    name: str
    batch: int
    length: int
    side: int
    padded: bool = False
    demands: Demands = field(default_factory=Demands)
    names: frozenset[str] = frozenset()
    """Of all dimensions: `batch-size` is one, and no difference of two."""

    @property
    def past(self) -> int:
        """Positions of a cache: short, next to any length, and a size no other dimension has."""
        return self.batch + 2


def required_inputs(model: Model) -> list[ir.Value]:
    """Graph inputs without a default: before IR version 4 initializers are listed as inputs too."""
    return [v for v in model.graph.inputs if v.name not in model.graph.initializers]


def make_feeds(
    model: Model,
    *,
    seed: int = 0,
    longest: int | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    sizes: Mapping[Axis, int] | None = None,
    whole_mask: bool = False,
) -> list[Feed]:
    """Feeds for any model, the same for the same seed.

    Named dimensions are equal across inputs and static ones are kept, those too that the graph bakes, and so is what
    the first readers of an input demand. Token ids stay below the row count of the table they index, lengths within
    the graph's position table and `longest` (512 when not given; beyond that the padded feed grows to 300 tokens, whose
    padding then exceeds any local attention window). `shapes`: of inputs that a caller states; `sizes`: of axes
    besides; `whole_mask`: a mask is as long as cache and tokens together, whatever its dimension is called. Raises
    OnnxfixError for inputs that cannot be made up (strings, sequences), and for shapes that do not fit; `feeds` of a
    file are the way out then.
    """
    inputs = required_inputs(model)
    stated = dict(shapes or {})
    check_shapes(model, stated)
    found = demands(model)
    found.sizes.update(sizes or {})
    cap = min(n for n in (longest or LONG, longest_sequence(model)) if n)
    rows = {v: table_rows(v) for v in inputs if v.dtype is not None and v.dtype.is_integer()}
    names = frozenset(d.value for v in inputs for d in v.shape or () if not isinstance(d, int) and d.value)
    frozen = {baked.axis.name: baked.size for baked in baked_sizes.find(model.graph)}  # no other size runs
    rng = np.random.default_rng(seed)
    feeds = []
    for plan in _plans(inputs, max(cap, 1)):
        plan = replace(plan, demands=found, names=names)
        named = frozen | _named(inputs, plan, stated)
        fixed = stated | (_whole_masks(inputs, plan, named, stated) if whole_mask else {})
        arrays = {str(v.name): _array(v, plan, named, rows.get(v), rng, fixed) for v in inputs}
        feeds.append(Feed(plan.name, arrays))
    return feeds


def check_shapes(model: Model, stated: Mapping[str, tuple[int, ...]]) -> None:
    """Raise OnnxfixError unless shapes that a caller states are of inputs, and fit what the file says of them."""
    inputs = {str(v.name): v for v in required_inputs(model)}
    for name, shape in stated.items():
        said = arg("input", f"{name}={'x'.join(map(str, shape))}")
        if name not in inputs:
            raise OnnxfixError(f"{said} names no input", f"the model's inputs are {', '.join(inputs) or 'none'}")
        known = inputs[name].shape
        if known is None:
            continue
        if len(known) != len(shape) or any(isinstance(d, int) and d != s for d, s in zip(known, shape, strict=True)):
            raise OnnxfixError(f"{said} does not fit the input, which the file says is {known}", "give another shape")


def _named(inputs: list[ir.Value], plan: _Plan, stated: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Sizes of dimension names that a caller's shapes, or the readers of an input, leave no choice about."""
    named: dict[str, int] = {}
    for value in inputs:
        for axis, dim in enumerate(value.shape or ()):
            if isinstance(dim, int) or not dim.value:
                continue
            if str(value.name) in stated:
                named.setdefault(dim.value, stated[str(value.name)][axis])
    for value in inputs:
        for axis, dim in enumerate(value.shape or ()):
            size = plan.demands.sizes.get((str(value.name), axis))
            if size is not None and not isinstance(dim, int) and dim.value:
                named.setdefault(dim.value, size)
    return named


def _whole_masks(
    inputs: list[ir.Value], plan: _Plan, named: dict[str, int], stated: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """Shapes of masks as long as cache and tokens together, where they are not stated."""
    found: dict[str, tuple[int, ...]] = {}
    for value in inputs:
        last = value.shape[-1] if value.shape is not None and len(value.shape) else 1
        if _role(value) == "mask" and not isinstance(last, int) and str(value.name) not in stated:
            shape = _shape(value, plan, dict(named), {})
            found[str(value.name)] = (*shape[:-1], plan.past + plan.length)
    return found


def _plans(inputs: list[ir.Value], cap: int) -> list[_Plan]:
    if any(_role(v) == "ids" for v in inputs):
        # Batch 1 with the longest length: the commonest serving shape, and the cheapest way to reach 512 tokens.
        padded = 300 if cap > LONG else 43
        return [
            _Plan("unpadded", 2, min(17, max(cap // 2, 1)), IMAGE_SIDES[0]),
            _Plan("padded", 3, min(padded, max(cap - 1, 1)), IMAGE_SIDES[1], padded=True),
            _Plan("long", 1, cap, IMAGE_SIDES[0]),
        ]
    if not inputs:
        return [_Plan("no-inputs", 1, 1, IMAGE_SIDES[0])]
    return [
        _Plan("random-2", 2, min(17, cap), IMAGE_SIDES[0]),
        _Plan("random-3", 3, min(43, cap), IMAGE_SIDES[1]),
    ]


def _role(value: ir.Value) -> str:
    """`ids`, `mask`, `segment` or `position` by name and type, else empty."""
    name = (value.name or "").lower()
    integer = value.dtype is not None and value.dtype.is_integer()
    if "mask" in name:
        return "mask"
    if not integer:
        return ""
    if "token_type" in name or "segment" in name:
        return "segment"
    if "position" in name:
        return "position"
    return "ids" if name.endswith("ids") or "tokens" in name else ""


def _array(
    value: ir.Value,
    plan: _Plan,
    sizes: dict[str, int],
    rows: int | None,
    rng: np.random.Generator,
    stated: Mapping[str, tuple[int, ...]],
) -> np.ndarray[Any, Any]:
    dtype = value.dtype
    if not isinstance(value.type, ir.TensorType) or dtype is None or dtype == ir.DataType.STRING:
        if plain.is_other(value) or isinstance(value.type, ir.SequenceType | ir.OptionalType):
            kind = "map" if plain.is_other(value) else type(value.type).__name__.removesuffix("Type").lower()
            raise OnnxfixError(
                f"no feed can be made up for input '{value.name}': it is a {kind}, which no .npz holds either",
                f"use {arg('verify', False)}",
            )
        kind = "a string tensor" if dtype == ir.DataType.STRING else "not a tensor of known type"
        raise OnnxfixError(
            f"no feed can be made up for input '{value.name}': it is {kind}",
            f"give one with {arg('feeds', 'FILE.npz')}",
        )
    shape = _shape(value, plan, sizes, stated)
    role = _role(value)
    if role == "mask":
        return _mask(shape, plan).astype(dtype.numpy())
    if role == "position":
        return np.broadcast_to(np.arange(shape[-1] if shape else 1), shape).astype(dtype.numpy())
    if dtype == ir.DataType.BOOL:
        return rng.random(shape) < 0.5
    if dtype.is_integer():
        high = rows or SMALL_INTEGERS
        return rng.integers(0, min(high, ml_dtypes.iinfo(dtype.numpy()).max), shape).astype(dtype.numpy())  # type: ignore[no-untyped-call]
    return rng.standard_normal(shape).astype(dtype.numpy())


def _mask(shape: tuple[int, ...], plan: _Plan) -> np.ndarray[Any, Any]:
    """Ones; in a padded feed every row but the first ends in zeros, the last row by half of its length."""
    mask = np.ones(shape, dtype=np.int64)
    if plan.padded and len(shape) == 2 and shape[1] > 1:
        for row in range(1, shape[0]):
            mask[row, shape[1] - max(1, shape[1] * row // (2 * (shape[0] - 1))) :] = 0
    return mask


def _shape(
    value: ir.Value, plan: _Plan, sizes: dict[str, int], stated: Mapping[str, tuple[int, ...]]
) -> tuple[int, ...]:
    if str(value.name) in stated:
        return stated[str(value.name)]
    dims = list(value.shape) if value.shape is not None else [ir.SymbolicDim(None)] * (2 if _role(value) else 1)
    return tuple(
        dim if isinstance(dim, int) else _size(str(dim.value or ""), axis, value, plan, sizes)
        for axis, dim in enumerate(dims)
    )


def _size(name: str, axis: int, value: ir.Value, plan: _Plan, sizes: dict[str, int]) -> int:
    """Size of a dynamic dimension; arithmetic such as `past_sequence_length + sequence_length` is that of its parts."""
    if not name:
        return sizes.get(f"#{axis}", _by_axis(axis, value, plan))
    if name not in sizes:
        computed = _computed(name, axis, value, plan, sizes)
        sizes[name] = _fresh_size(name, axis, value, plan) if computed is None else computed
    return sizes[name]


def _computed(name: str, axis: int, value: ir.Value, plan: _Plan, sizes: dict[str, int]) -> int | None:
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


def _fresh_size(name: str, axis: int, value: ir.Value, plan: _Plan) -> int:
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


def _by_axis(axis: int, value: ir.Value, plan: _Plan) -> int:
    """Unnamed dimensions: axis 0 is the batch, axes of a text input the length, axes of an image its sides."""
    place = (str(value.name), axis)
    if place in plan.demands.sizes:
        return plan.demands.sizes[place]
    if place in plan.demands.grown:
        return plan.past
    if axis == 0:
        return plan.batch
    rank = len(value.shape) if value.shape is not None else 2
    if rank == 4 and not _role(value):
        return 3 if axis == 1 else plan.side
    return plan.length


def as_feed(model: Model, name: str, arrays: Mapping[str, Any]) -> Feed:
    """A feed from nested lists, as kept in a file's provenance, in the dtypes of the model's inputs."""
    dtypes = {v.name: v.dtype.numpy() for v in model.graph.inputs if v.dtype is not None}
    return Feed(name, {key: np.asarray(value, dtype=dtypes.get(key)) for key, value in arrays.items()})

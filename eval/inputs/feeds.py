"""Feeds: named inputs to run a model on, made up from its input types, shapes and dimension names, or read from .npz.

A text encoder gets three feeds of three different batch × length shapes (no padding, padding at the right, 512
tokens), so that an axis an exporter froze cannot go unnoticed. Any other model gets two feeds of different sizes. Draws
are many small feeds besides: a recurrent network can be right on two inputs and wrong by its whole size on a third.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.input_roles import role
from onnxfix.nouns.types.opening import plain
from onnxfix.surgery.sites.sizes import baked_sizes

from .dimension_sizes import Plan, shape_of
from .graph_limits import longest_sequence, table_rows
from .uses.demands import Axis, Demands, demands
from .uses.lengths import lengths
from .uses.moves import chooses
from .uses.numbers import numbers
from .uses.settings import kinds, settings
from .uses.standards import standards

LONG = 512
MOST_ELEMENTS = 1 << 26
"""Of one input: a quarter of a gigabyte of floats, two seconds to draw; a dozen feeds are made before one is run."""
IMAGE_SIDES = (64, 96)  # multiples of 32: the total stride of common convolutional networks
Step = tuple[int, int, int]
"""Rows, new tokens of each, and how many are in the cache before them."""
STEPS: tuple[Step, ...] = ((3, 9, 0), (2, 1, 1), (2, 1, 7))
FEATURES = 3
"""Most axes of what is of tokens: ids, or features of each; a cache has one more."""
CACHE_RANK, CACHE_AXIS = 4, 2  # keys or values as [batch, heads, positions, size]
SMALL_INTEGERS = 2  # unknown integer inputs are often flags, segment numbers or indices: 0 and 1 are valid for all
# Draws in turn: short ones, and ones that are long enough for errors of a state to add up.
DRAWN_LENGTHS = (17, 512, 43, 160)
# What a drawn float input is of, each by chance: images and features have about 1, sound has less.
LOUDNESS = (1.0, 0.3, 0.1, 0.03)


@dataclass(frozen=True)
class Feed:
    """One set of inputs: input name → array."""

    name: str
    arrays: dict[str, np.ndarray[Any, Any]]
    drawn: bool = False
    """One of many small ones, which are compared together."""
    rows: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    """Output name → rows of the batch to compare, bool; all of them for outputs that it does not name."""
    gold: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    """Output name → class number a row, shape (rows,), or a token, (rows, tokens); -1: no label."""
    mask: str = ""
    """The input that says which tokens are real, where it is known by more than its name."""


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
    whole_rows: bool = True,
    draws: int = 0,
    loudness: Sequence[float] = LOUDNESS,
    steps: Sequence[Step] = (),
    mask: str = "",
) -> list[Feed]:
    """Feeds for any model, the same for the same seed. With `draws` so many small ones of one row each instead, whose
    float inputs have one of these standard deviations each. With `steps` those of a decoder with a cache instead, one a
    step, as a prompt with nothing before it and then a token of each row (STEPS); none for others.

    Named dimensions are equal across inputs and static ones are kept, those too that the graph bakes, and so is what
    the first readers of an input demand. Token ids stay below the row count of the table they index, lengths within
    the graph's position table and `longest` (512 when not given; beyond that the padded feed grows to 300 tokens, whose
    padding then exceeds any local attention window). `shapes`: of inputs that a caller states; `sizes`: of axes
    besides; `mask`: the input that says which tokens are padding, whatever it is called; `whole_mask`: a mask is as
    long as cache and tokens together, whatever its dimension is called; without `whole_rows` inputs that are lengths
    are 0 or 1, as other small integers. Positions go on behind a cache. Raises OnnxfixError for inputs that cannot be
    made up (strings, sequences), and for shapes that do not fit; `feeds` of a file are the way out then.
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
    chosen, told, counted = settings(inputs), kinds(inputs), lengths(inputs) if whole_rows else {}
    places = {str(v.name) for v, known in rows.items() if known is None and chooses(v)}  # of what has any size
    told = {name: tuple(n for n in known if n < SMALL_INTEGERS or name not in places) for name, known in told.items()}
    held, sizes_of = numbers(v for v in inputs if v.name not in places), standards(inputs)
    rng = np.random.default_rng([seed, draws] if draws else seed)
    feeds = []
    plans = _drawn_plans(inputs, max(cap, 1), draws) if draws else _plans(inputs, max(cap, 1), mask)
    if behind := bool(_cache(inputs, found)):
        plans = [replace(plan, length=max(min(plan.length, cap - plan.past), 1)) for plan in plans]
    for plan in (_steps(steps, max(cap, 1)) if behind else ()) if steps else plans:
        plan = replace(plan, demands=found, names=names, settings=chosen, kinds=told, lengths=counted, numbers=held)
        plan = replace(plan, loudness=tuple(loudness), standards=sizes_of, first=plan.past if behind else 0)
        named = frozen | _named(inputs, plan, stated)
        fixed = stated | (_whole_masks(inputs, plan, named, stated) if whole_mask else {})
        parts = {v: "mask" if v.name == mask else role(v) for v in inputs}
        arrays = {str(v.name): _array(v, parts[v], plan, named, rows.get(v), rng, fixed) for v in inputs}
        feeds.append(Feed(plan.name, arrays, drawn=plan.drawn, mask=mask))
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


def _named(inputs: list[ir.Value], plan: Plan, stated: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
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
    for value in _cache(inputs, plan.demands):  # a mask, which may come first, is of this and more
        length = value.shape[CACHE_AXIS] if value.shape is not None else None
        if isinstance(length, ir.SymbolicDim) and length.value and length.value.isidentifier():
            named.setdefault(length.value, plan.past)
    return named


def _whole_masks(
    inputs: list[ir.Value], plan: Plan, named: dict[str, int], stated: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """Shapes of masks as long as cache and tokens together, where they are not stated."""
    found: dict[str, tuple[int, ...]] = {}
    for value in inputs:
        last = value.shape[-1] if value.shape is not None and len(value.shape) else 1
        if role(value) == "mask" and not isinstance(last, int) and str(value.name) not in stated:
            shape = shape_of(value, plan, dict(named), {})
            found[str(value.name)] = (*shape[:-1], plan.past + plan.length)
    return found


def _plans(inputs: list[ir.Value], cap: int, mask: str) -> list[Plan]:
    if any(role(v) == "ids" or _is_of_tokens(v, inputs) or v.name == mask for v in inputs):
        # Batch 1 with the longest length: the commonest serving shape, and the cheapest way to reach 512 tokens.
        padded = 300 if cap > LONG else 43
        return [
            Plan("unpadded", 2, min(17, max(cap // 2, 1)), IMAGE_SIDES[0]),
            Plan("padded", 3, min(padded, max(cap - 1, 1)), IMAGE_SIDES[1], padded=True),
            Plan("long", 1, cap, IMAGE_SIDES[0]),
        ]
    if not inputs:
        return [Plan("no-inputs", 1, 1, IMAGE_SIDES[0])]
    return [
        Plan("random-2", 2, min(17, cap), IMAGE_SIDES[0]),
        Plan("random-3", 3, min(43, cap), IMAGE_SIDES[1]),
    ]


def _is_of_tokens(mask: ir.Value, inputs: list[ir.Value]) -> bool:
    """A mask of rows and of as many tokens, of any number, as another input has features of."""
    if role(mask) != "mask" or mask.shape is None or len(mask.shape) != 2 or isinstance(mask.shape[1], int):
        return False
    others = [value.shape for value in inputs if value is not mask and value.shape is not None]
    return any(1 < len(shape) <= FEATURES and shape[1] == mask.shape[1] for shape in others)


def _cache(inputs: list[ir.Value], found: Demands) -> list[ir.Value]:
    """Keys and values of a text decoder, which it appends to: without token ids a cache is of anything."""
    if not any(role(v) == "ids" for v in inputs):
        return []
    caches = (v for v in inputs if v.shape is not None and len(v.shape) == CACHE_RANK)
    return [v for v in caches if (str(v.name), CACHE_AXIS) in found.grown]


def _steps(steps: Sequence[Step], cap: int) -> list[Plan]:
    """With padding where there is something to hide of a prompt, or of more than one token of a past."""
    named = [(f"token behind {past}" if past else "first step", (rows, new, past)) for rows, new, past in steps]
    return [
        Plan(name, rows, min(new, cap - past), IMAGE_SIDES[0], padded=new > 1 or past > 1, cached=past)
        for name, (rows, new, past) in named if past < cap
    ]  # fmt: skip


def _drawn_plans(inputs: list[ir.Value], cap: int, count: int) -> list[Plan]:
    """None where nothing can be drawn: a model without inputs, or of masks and positions alone."""
    if all(role(v) in ("mask", "position") for v in inputs):
        return []
    return [
        Plan(f"draw {i + 1}", 1, min(DRAWN_LENGTHS[i % len(DRAWN_LENGTHS)], cap), IMAGE_SIDES[i % 2], drawn=True)
        for i in range(count)
    ]


def _array(
    value: ir.Value,
    part: str,
    plan: Plan,
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
    shape = shape_of(value, plan, sizes, stated)
    if math.prod(shape) > MOST_ELEMENTS:
        raise OnnxfixError(
            f"no feed can be made up for input '{value.name}': its shape is {'x'.join(map(str, shape))}",
            f"state a smaller one that it takes with {arg('input', 'NAME=SHAPE')}, or use {arg('verify', False)}",
        )
    if part == "mask":
        return _mask(shape, plan).astype(dtype.numpy())
    if part == "position":
        return np.broadcast_to(plan.first + np.arange(shape[-1] if shape else 1), shape).astype(dtype.numpy())
    if dtype == ir.DataType.BOOL:
        return rng.random(shape) < 0.5
    if dtype.is_integer():
        if (chosen := plan.setting(value, rng)) is not None:
            return np.full(shape, chosen, dtype.numpy())
        if (steps := plan.steps(value, shape, rng)) is not None:
            return steps.astype(dtype.numpy())
        if rows is None and (held := plan.number(value, shape, rng)) is not None:
            return held.astype(dtype.numpy())
        if rows is None and (told := plan.kind(value, shape, rng)) is not None:
            return told.astype(dtype.numpy())
        high = rows or SMALL_INTEGERS
        return rng.integers(0, min(high, ml_dtypes.iinfo(dtype.numpy()).max), shape).astype(dtype.numpy())  # type: ignore[no-untyped-call]
    return plan.floats(value, shape, rng).astype(dtype.numpy())


def _mask(shape: tuple[int, ...], plan: Plan) -> np.ndarray[Any, Any]:
    """Ones; in a padded feed every row but the first ends in zeros, the last row by half of its length."""
    mask = np.ones(shape, dtype=np.int64)
    if plan.padded and len(shape) == 2 and shape[1] > 1:
        for row in range(1, shape[0]):
            mask[row, shape[1] - max(1, shape[1] * row // (2 * (shape[0] - 1))) :] = 0
    return mask


def as_feed(model: Model, name: str, arrays: Mapping[str, Any]) -> Feed:
    """A feed from nested lists, as kept in a file's provenance, in the dtypes of the model's inputs."""
    dtypes = {v.name: v.dtype.numpy() for v in model.graph.inputs if v.dtype is not None}
    return Feed(name, {key: np.asarray(value, dtype=dtypes.get(key)) for key, value in arrays.items()})

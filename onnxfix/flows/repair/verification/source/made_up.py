"""Made-up inputs to try on a source, best first: within a budget of memory, with sizes that its nodes demand."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from onnxfix.nouns.model import Model

from . import budget

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed, Step
    from onnxfix.eval.inputs.uses.demands import Axis
    from onnxfix.eval.run.runners import Runner

# Lengths to try, the longest first: of what position tables allow, of what memory allows.
LENGTHS = (2048, 1024, 512, 256, 128, 64, 32, 16)
SHORTER = LENGTHS[2:]
# Sizes of an axis that a graph demands where its first readers do not show it: heights of lines of text, sides of
# images, windows of samples and frames.
COMMON_SIZES = (48, 32, 64, 80, 128, 224, 256, 512, 16, 40, 96, 112, 160, 192, 299, 320, 384, 400, 480, 640, 768, 1024)
_TRIED_S = 20.0
# An axis whose size was found by trial gets these as well in draws, where the source takes them.
SIZES_DRAWN = (512, 160, 1024)


@dataclass(frozen=True)
class MadeUp:
    """How inputs are made up. `memory`: bytes that a run may take, 0 for what the machine allows; `shapes`: of inputs
    that the caller states; `half`: the results will be emulated in half precision, which takes more."""

    memory: int = 0
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    half: bool = False
    draws: tuple[float, ...] = ()
    """How loud the float inputs of many small feeds are, where results may err by more on some than on others."""
    paddings: bool = False
    """Whether padding at the left and between tokens is tried besides."""
    mask: str = ""
    """The input that says which tokens are padding, where the graph tells it and its name may not."""
    by_steps: bool = False
    """Whether behind a cache one row is tried, or one token of each alone: all that GroupQueryAttention takes."""


def is_step(feed: Feed) -> bool:
    """False of several rows of several tokens behind a cache: GroupQueryAttention ends those in an error, and never in
    a wrong number; the pass that writes the operator says so."""
    from onnxfix.eval.numerics.compare import cached

    past, tokens = cached(feed), [a for a in feed.arrays.values() if a.ndim == 2 and a.dtype.kind in "iu"]
    if not past or not tokens:
        return True
    return len(tokens[0]) == 1 or min(array.shape[1] for array in tokens) == 1


def reach_of(feeds: Sequence[Feed]) -> int:
    """The longest second axis, which of tokens is the length."""
    return max((size for feed in feeds for array in feed.arrays.values() for size in array.shape[1:2]), default=0)


def candidates(
    model: Model, source: Runner, lengths: Sequence[int], how: MadeUp
) -> Iterator[tuple[Callable[..., list[Feed]], str]]:
    """What makes up feeds, best first: by the names of dimensions, with masks of the whole length, with sizes found by
    trial."""
    from onnxfix.eval.inputs.feeds import make_feeds, required_inputs
    from onnxfix.eval.inputs.uses.demands import demands
    from onnxfix.eval.inputs.uses.lengths import lengths as lengths_of

    fitting, said = _fitting(model, lengths, how)
    make = functools.partial(make_feeds, model, shapes=how.shapes, mask=how.mask)
    masks = (
        (False, True) if demands(model).grown or any("past" in str(v.name) for v in model.graph.inputs) else (False,)
    )
    for longest in fitting:
        for whole in masks:
            yield functools.partial(make, longest=longest, whole_mask=whole), said
    if lengths_of(required_inputs(model)):  # of an axis that the file says nothing of, which is shorter
        yield functools.partial(make, longest=fitting[-1], whole_rows=False), said
    sizes = _sizes_by_trial(model, source, how)
    if sizes:
        for longest in fitting:
            yield functools.partial(_sized, functools.partial(make, longest=longest), sizes), said


def _fitting(model: Model, lengths: Sequence[int], how: MadeUp) -> tuple[Sequence[int], str]:
    """The lengths whose feeds the memory allows, and a word on the first that it does not; the shortest is always
    tried."""
    from onnxfix.eval.inputs.feeds import make_feeds

    most = how.memory or budget.default_bytes()
    said, reached = "", 0
    for index, longest in enumerate(lengths):
        feeds = make_feeds(model, longest=longest, shapes=how.shapes)
        need = max((budget.needed_bytes(model, feed, how.half) for feed in feeds), default=0)
        reach = reach_of(feeds)
        if need <= most or longest == lengths[-1]:
            what = f"; at {reach:,} tokens: {said}" if said and reach < reached else ""
            return lengths[index:], what
        if not said:
            said, reached = f"{reach:,} would need about {_gigabytes(need)}", reach
    return lengths, ""


def _gigabytes(count: int) -> str:
    return f"{count / budget.GB:,.0f} GB" if count >= 2 * budget.GB else f"{count / budget.GB:,.1f} GB"


def _sized(
    made: Callable[..., list[Feed]],
    sizes: Sequence[dict[Axis, int]],
    draws: int = 0,
    loudness: Sequence[float] = (),
    steps: Sequence[Step] = (),
) -> list[Feed]:
    """Feeds of the first sizes, steps of a decoder among them, or draws of all of them in equal parts."""
    if not draws:
        return made(sizes=sizes[0], steps=steps)
    each = [made(sizes=one, draws=draws // len(sizes), loudness=loudness, seed=seed) for seed, one in enumerate(sizes)]
    return [replace(feed, name=f"draw {i}") for i, feed in enumerate(itertools.chain(*each), start=1)]


def _sizes_by_trial(model: Model, source: Runner, how: MadeUp) -> list[dict[Axis, int]]:
    """The sizes of one open axis with which the source runs, out of those in use, alone or where each other open axis
    has 1 (rows of a state, next to sound); the first that runs, then some that may. Empty where none helps."""
    from onnxfix.eval.inputs.feeds import make_feeds, required_inputs
    from onnxfix.eval.inputs.uses.demands import demands
    from onnxfix.eval.inputs.uses.numbers import numbers
    from onnxfix.eval.run.runners import RunFailure

    begun, known = time.monotonic(), demands(model)
    unstated = [v for v in required_inputs(model) if str(v.name) not in how.shapes and v.shape is not None]
    dynamic = [(v, axis) for v in unstated for axis, dim in enumerate(v.shape or ()) if not isinstance(dim, int)]
    ones = {(str(value.name), axis): 1 for value, axis in dynamic}
    counted = numbers(required_inputs(model))
    floats = [
        (v, at) for v, at in dynamic if v.dtype is not None and (v.dtype.is_floating_point() or v.name in counted)
    ]
    open_axes = {(str(value.name), axis) for value, axis in floats if axis} - {*known.sizes, *known.grown}
    for size, others, place in itertools.product(COMMON_SIZES, ({}, ones), sorted(open_axes)):
        if time.monotonic() - begun > _TRIED_S:
            return []
        sizes = {**others, **known.sizes, place: size}
        try:
            for feed in make_feeds(model, longest=SHORTER[-1], shapes=how.shapes, sizes=sizes):
                source.run(feed.arrays)
            return [sizes, *({**sizes, place: other} for other in SIZES_DRAWN if other > size)]
        except RunFailure:
            continue
    return []

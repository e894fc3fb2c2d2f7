"""The source's own answers: inputs that it takes, given or made up within a budget of memory, and what it makes of
them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.process.deadline import LateError
from onnxfix.nouns.site import label

from . import budget

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfix.eval.inputs.demands import Axis
    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.eval.run.runners import Runner

# Lengths to try, the longest first: of what position tables allow, of what memory allows.
LENGTHS = (2048, 1024, 512, 256, 128, 64, 32, 16)
SHORTER = LENGTHS[2:]
# Sizes of an axis that a graph demands where its first readers do not show it: heights of lines of text, sides of
# images, windows of samples and frames.
COMMON_SIZES = (48, 32, 64, 80, 128, 224, 256, 512, 16, 40, 96, 112, 160, 192, 299, 320, 384, 400, 480, 640, 768, 1024)
_TRIED_S = 20.0
# Seconds that the source may take for all feeds: several such runs follow, and emulated ones take three times that.
SLOW_S = 15.0


@dataclass(frozen=True)
class MadeUp:
    """How inputs are made up. `memory`: bytes that a run may take, 0 for what the machine allows; `shapes`: of inputs
    that the caller states; `half`: the results will be emulated in half precision, which takes more."""

    memory: int = 0
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    half: bool = False


@dataclass(frozen=True)
class Answers:
    """`reference` knows its `feeds`. `said`: the length that memory allowed, in words; empty where it allowed all."""

    feeds: list[Feed]
    reference: Runner
    said: str = ""


def answers(
    model: Model,
    source: Runner,
    given: Sequence[Feed] = (),
    lengths: Sequence[int] = SHORTER,
    more: Sequence[Feed] = (),
    how: MadeUp | None = None,
) -> Answers:
    """Feeds and the source's answers: the given ones, or made-up ones, shorter when the first are too long for it or
    for the memory, and `more` of them besides. Raises OnnxfixError, which names the input that looks wrong."""
    from onnxfix.eval.run.runners import Recorded, RunFailure

    can_state, how = how is not None, how or MadeUp()
    if given:
        try:
            return Answers([*given, *more], Recorded(source, [feed.arrays for feed in (*given, *more)]))
        except RunFailure as error:
            raise OnnxfixError(error.message.marked, _way_out(model, error, given, False)) from error
    try:
        return _made_up(model, source, lengths, more, how, can_state)
    except OnnxfixError:
        if not more:
            raise
    # real inputs will do where none can be made up
    return Answers(list(more), Recorded(source, [feed.arrays for feed in more]))


def _made_up(
    model: Model, source: Runner, lengths: Sequence[int], more: Sequence[Feed], how: MadeUp, can_state: bool
) -> Answers:
    """On the first candidates that the source takes, and soon enough where shorter ones are to be had."""
    from onnxfix.eval.run.runners import Recorded, RunFailure

    failure: tuple[RunFailure, list[Feed]] | None = None
    late: LateError | None = None
    found: Answers | None = None
    slow, below = "", None
    for feeds, said in _candidates(model, source, lengths, how):
        every, reach, begun = [*feeds, *more], _reach(feeds), time.monotonic()
        if below is not None and reach >= below:
            continue  # not enough shorter than what was too slow
        try:
            found = Answers(every, Recorded(source, [feed.arrays for feed in every]), said)
        except RunFailure as error:
            failure = failure or (error, feeds)
            continue
        except LateError as error:
            late = late or error
            below = reach // 16  # what never ends is not waited for eight times
            slow = slow or f"{reach:,} did not end in time"
            continue
        took = time.monotonic() - begun
        if slow:
            found = replace(found, said=f"; at {reach:,} tokens: {slow}")
        if took <= SLOW_S:
            return found
        slow, below = slow or f"{reach:,} took {took:.0f} s a time", reach
    if found is not None:
        return found
    if late is not None:
        raise late
    assert failure is not None
    raise OnnxfixError(failure[0].message.marked, _way_out(model, *failure, can_state))


def _reach(feeds: Sequence[Feed]) -> int:
    """The longest second axis, which of tokens is the length."""
    return max((size for feed in feeds for array in feed.arrays.values() for size in array.shape[1:2]), default=0)


def _candidates(model: Model, source: Runner, lengths: Sequence[int], how: MadeUp) -> Iterator[tuple[list[Feed], str]]:
    """Made-up feeds, best first: by the names of dimensions, with masks of the whole length, with sizes found by
    trial."""
    from onnxfix.eval.inputs.demands import demands
    from onnxfix.eval.inputs.feeds import make_feeds

    fitting, said = _fitting(model, lengths, how)
    masks = (
        (False, True) if demands(model).grown or any("past" in str(v.name) for v in model.graph.inputs) else (False,)
    )
    for longest in fitting:
        for whole in masks:
            yield make_feeds(model, longest=longest, shapes=how.shapes, whole_mask=whole), said
    sizes = _sizes_by_trial(model, source, how)
    if sizes:
        for longest in fitting:
            yield make_feeds(model, longest=longest, shapes=how.shapes, sizes=sizes), said


def _fitting(model: Model, lengths: Sequence[int], how: MadeUp) -> tuple[Sequence[int], str]:
    """The lengths whose feeds the memory allows, and a word on the first that it does not; the shortest is always
    tried."""
    from onnxfix.eval.inputs.feeds import make_feeds

    most = how.memory or budget.default_bytes()
    said, reached = "", 0
    for index, longest in enumerate(lengths):
        feeds = make_feeds(model, longest=longest, shapes=how.shapes)
        need = max((budget.needed_bytes(model, feed, how.half) for feed in feeds), default=0)
        reach = _reach(feeds)
        if need <= most or longest == lengths[-1]:
            what = f"; at {reach:,} tokens: {said}" if said and reach < reached else ""
            return lengths[index:], what
        if not said:
            said, reached = f"{reach:,} would need about {_gigabytes(need)}", reach
    return lengths, ""


def _gigabytes(count: int) -> str:
    return f"{count / budget.GB:,.0f} GB" if count >= 2 * budget.GB else f"{count / budget.GB:,.1f} GB"


def _sizes_by_trial(model: Model, source: Runner, how: MadeUp) -> dict[Axis, int]:
    """One size of one open axis with which the source runs, out of those in use; empty where none helps."""
    from onnxfix.eval.inputs.demands import demands
    from onnxfix.eval.inputs.feeds import make_feeds, required_inputs
    from onnxfix.eval.run.runners import RunFailure

    begun, known = time.monotonic(), demands(model)
    open_axes = [
        (str(value.name), axis)
        for value in required_inputs(model)
        if value.dtype is not None and value.dtype.is_floating_point() and str(value.name) not in how.shapes
        for axis, dim in enumerate(value.shape or ())
        if axis and not isinstance(dim, int) and (str(value.name), axis) not in {*known.sizes, *known.grown}
    ]
    for size in COMMON_SIZES:
        for place in open_axes:
            if time.monotonic() - begun > _TRIED_S:
                return {}
            try:
                for feed in make_feeds(model, longest=SHORTER[-1], shapes=how.shapes, sizes={place: size}):
                    source.run(feed.arrays)
                return {place: size}
            except RunFailure:
                continue
    return {}


def _way_out(model: Model, failure: OnnxfixError, feeds: Sequence[Feed], can_state: bool) -> str:
    """Which input the failing node is reached from first, as it was fed, and how to give another one."""
    value = _blamed(model, str(failure))
    feed = next((feed for feed in feeds if value is not None and str(value.name) in feed.arrays), None)
    out = f"give inputs that the model takes with {arg('feeds', 'FILE.npz')}"
    if value is None or feed is None:
        return out
    shape = "x".join(map(str, feed.arrays[str(value.name)].shape))
    other = f"state its shape, as in {arg('input', f'{value.name}={shape}')}, or " if can_state and shape else ""
    return f"input '{value.name}', fed as {shape or 'a single number'}, looks wrong: {other}{out}"


def _blamed(model: Model, message: str) -> ir.Value | None:
    """The input that the node named in a message is fewest nodes behind; the only one where no node is named."""
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    node = next((n for n in model.nodes() if f"{n.op_type} '{label(n)}'" in message), None)
    pending: list[Any] = [v for v in node.inputs if v is not None] if node is not None else []
    seen = set(pending)
    while pending:
        value = pending.pop(0)
        if value in inputs:
            return value  # type: ignore[no-any-return]
        producer = value.producer()
        for before in producer.inputs if producer is not None else ():
            if before is not None and before not in seen:
                seen.add(before)
                pending.append(before)
    return inputs[0] if len(inputs) == 1 else None

"""The source's own answers: inputs that it takes, given or made up within a budget of memory, and what it makes of
them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.process.deadline import LateError

from .made_up import SHORTER, MadeUp, candidates, is_step, reach_of
from .way_out import way_out

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.eval.run.runners import Recorded, Runner

# Draws by the bytes of the weights, so that they are the same on every machine; the last for whatever is larger.
# A detector of speech with an LSTM errs in fp16 by 0.001 on 19 inputs of 20, and by up to 0.16 on the last.
DRAWS = ((4 << 20, 128), (32 << 20, 16), (1 << 62, 4))
# Tokens are all of one size: of 9 transformers the worst of 64 draws erred as the feeds do, by 1.5 times at most.
DRAWS_OF_TEXT = 8
# Feeds of a caller that are run with tokens hidden besides.
HIDDEN_OF = 2
# Seconds after which no further draw is run: what follows runs them three times more.
_DRAWN_S = 2.0
# Seconds that the source may take for all feeds: several such runs follow, and emulated ones take three times that.
SLOW_S = 15.0


@dataclass(frozen=True)
class Answers:
    """`reference` knows its `feeds` and `draws`. `said`: the length that memory allowed, in words; empty where that was
    all."""

    feeds: list[Feed]
    reference: Recorded
    said: str = ""
    draws: list[Feed] = field(default_factory=list)


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
    given, more = ([replace(feed, mask=how.mask) for feed in feeds] for feeds in (given, more))
    if given:
        try:
            found = Answers([*given, *more], Recorded(source, [feed.arrays for feed in (*given, *more)]))
        except RunFailure as error:
            raise OnnxfixError(error.message.marked, way_out(model, error, given, False)) from error
        return _with_hidden(source, found, given) if how.paddings else found
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
    from onnxfix.eval.inputs.paddings import OTHERS, compared, other_paddings
    from onnxfix.eval.run.runners import Recorded, RunFailure

    failure: tuple[RunFailure, list[Feed]] | None = None
    late: LateError | None = None
    found: Answers | None = None
    failed: list[Feed] = []
    slow, below = "", None
    # in half a row that sees no key may be another one, and a causal mask leaves such where padding is at the left
    others = len(OTHERS) if how.paddings else int(how.half)
    for make, said in candidates(model, source, lengths, how):
        families = [(feed, other_paddings(feed)[:others]) for feed in _also_short(make(), how)]
        feeds = [each for feed, of_it in families for each in (feed, *of_it)]
        feeds = [feed for feed in feeds if not how.by_steps or is_step(feed)] or feeds
        every, reach, begun = [*feeds, *more], reach_of(feeds), time.monotonic()
        if below is not None and reach >= below:
            continue  # not enough shorter than what was too slow
        try:
            found = Answers(every, Recorded(source, [feed.arrays for feed in every]), said)
        except RunFailure as error:
            failure = failure or (error, feeds)
            failed.extend(feeds)
            continue
        except LateError as error:
            late = late or error
            below = reach // 16  # what never ends is not waited for eight times
            slow = slow or f"{reach:,} did not end in time"
            continue
        took = time.monotonic() - begun
        found = _with_steps(source, found, make, how.paddings or how.by_steps)
        for feed, of_it in families:
            told = dict(zip(map(id, of_it), compared(feed, of_it, source.run), strict=True))
            found = replace(found, feeds=[told.get(id(each), each) for each in found.feeds])
        if slow:
            found = replace(found, said=f"; at {reach:,} tokens: {slow}")
        if took <= SLOW_S:
            return _with_draws(model, source, found, make, how.draws) if how.draws else found
        slow, below = slow or f"{reach:,} took {took:.0f} s a time", reach
    if found is not None:
        return found
    if late is not None:
        raise late
    assert failure is not None
    raise OnnxfixError(failure[0].message.marked, way_out(model, *failure, can_state, failed))


def _also_short(feeds: list[Feed], how: MadeUp) -> list[Feed]:
    """With padding in the shortest rows, too, where it is left out: a graph may be another one for short rows."""
    from onnxfix.eval.inputs.paddings import hidden

    padded = hidden(feeds[0]) if how.paddings and len(feeds) > 1 else None
    return feeds if padded is None else [*feeds, padded]


def _with_hidden(source: Runner, found: Answers, given: Sequence[Feed]) -> Answers:
    """With tokens of a caller's feeds hidden besides, where these have no padding: a graph that leaves padding out is
    not to be believed for what it makes of none."""
    from onnxfix.eval.inputs.paddings import compared, hidden, other_paddings
    from onnxfix.eval.run.runners import RunFailure

    padded = [each for feed in given[:HIDDEN_OF] if (each := hidden(feed)) is not None]
    more: list[Feed] = []
    for feed in padded if len(padded) == len(given[:HIDDEN_OF]) else ():
        others = other_paddings(feed)
        with contextlib.suppress(RunFailure):
            for each in (feed, *others):
                found.reference.record(each.arrays, source)
            more += compared(feed, [feed, *others], source.run)
    return replace(found, feeds=[*found.feeds, *more])


def _with_steps(source: Runner, found: Answers, make: Callable[..., list[Feed]], padded: bool) -> Answers:
    """With the steps of a decoder besides, those that the source takes: some take no cache of length 0. `padded`: with
    padding at the left and between tokens as well."""
    from onnxfix.eval.inputs.feeds import STEPS
    from onnxfix.eval.inputs.paddings import other_paddings
    from onnxfix.eval.run.runners import RunFailure

    taken = []
    steps = make(steps=STEPS)
    others = [(step, other) for step in steps for other in other_paddings(step)] if padded else []
    for feed in [*steps, *(replace(other, name=f"{other.name} {step.name}") for step, other in others)]:
        with contextlib.suppress(RunFailure):
            found.reference.record(feed.arrays, source)
            taken.append(feed)
    return replace(found, feeds=[*found.feeds, *taken])


def _with_draws(
    model: Model, source: Runner, found: Answers, make: Callable[..., list[Feed]], loudness: Sequence[float]
) -> Answers:
    """With small feeds besides, those that the source takes."""
    from onnxfix.eval.run.runners import RunFailure
    from onnxfix.nouns.types.input_roles import role

    begun, drawn = time.monotonic(), []
    count = next(count for size, count in DRAWS if model.weights_bytes <= size)
    of_text = any(role(value) == "ids" for value in model.graph.inputs)
    for feed in make(draws=min(count, DRAWS_OF_TEXT) if of_text else count, loudness=loudness):
        with contextlib.suppress(RunFailure):
            found.reference.record(feed.arrays, source)
            drawn.append(feed)
        if time.monotonic() - begun > _DRAWN_S:
            break
    return replace(found, draws=drawn)

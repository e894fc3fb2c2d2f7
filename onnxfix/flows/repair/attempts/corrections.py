"""Corrections: an attempt that errs, made again with more in fp32 or with narrower weights."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from onnxfix.flows.repair.verification.verification import Verification
from onnxfix.flows.repair.verification.words import in_figures
from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.errors import OnnxfixError, Sentence, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.passes.convert_to_half import HALVES, NothingHalfError
from onnxfix.surgery.recipes import Wish
from onnxfix.surgery.sites.attention import attention_scores

from . import escalation
from .attempts import Attempt, Attempts
from .origin import Origin

# How often what half precision harms is looked for, while numbers are still lost.
ROUNDS = 3


def within_aim(
    attempts: Attempts, wish: Wish, done: Attempt, held: Verification, aim: float
) -> tuple[Attempt, Comparison]:
    """The first attempt that errs no more than `aim`; if there is none, the plain one if it is within the limit, since
    fp32 that does not help is only slow, or else the one that errs least."""
    origin = attempts.origin
    first = held.emulated(done.result)
    if first.error > aim and origin.arithmetic:
        origin.widen("half arithmetic that errs")
        done = attempts.make(wish)
        first = held.emulated(done.result)
    if first.error <= aim:
        return done, first
    kept, again = with_masks(attempts, done, first, held, aim)
    if again.error <= aim:
        return kept, again
    tried = [(done.wish, first, "")]
    for _ in range(ROUNDS):  # what is lost on one feed hides what is on another
        start, comparison, _what = tried[-1]
        count = len(tried)
        for more in escalation.escalations(
            origin.model, start, held.telling(comparison), comparison.sound, origin.progress
        ):
            origin.progress(f"keep {more.what} in fp32")
            wish = escalation.keeping(start, more.nodes)
            with contextlib.suppress(NothingHalfError):  # that would be the source again
                tried.append((wish, held.emulated(attempts.make(wish).result), more.what))
            if tried[-1][1].error <= aim:
                break
        if tried[-1][1].sound or len(tried) == count:
            break
    wish, comparison, what = min(tried, key=lambda attempt: attempt[1].error)
    if comparison.error > aim and first.error <= held.check.rounding:
        wish, comparison, what = tried[0]
    made = attempts.make(wish)  # again, as each attempt takes the place of the one before
    note = f"also in fp32: {what}: error {_figure(first)} → {_figure(comparison)}"
    return (made.noted(note) if what else made), comparison


def with_masks(
    attempts: Attempts, done: Attempt, first: Comparison, held: Verification, aim: float
) -> tuple[Attempt, Comparison]:
    """An attempt that errs where a row may see no key, made again with masks and scores in fp32, where finfo.min makes
    such a row even; itself where it errs on other feeds as well, or that does not help."""
    from onnxfix.eval.numerics.compare import mask_of

    origin, wish = attempts.origin, done.wish
    wrong = {d.feed for d in first.differences if d.new_nonfinite or not d.rel_l2 <= aim}
    masks = [mask_of(feed) for feed in held.feeds if feed.name in wrong]
    at_the_left = len(masks) == len(wrong) and all(mask is not None and not mask[:, 0].all() for mask in masks)
    if not at_the_left or wish.fuse or wish.half.keeps_masks or not _masked(origin.model):
        return done, first  # of attention in one operator no score is there to be kept
    origin.progress("keep masks and scores in fp32")
    half = replace(wish.half, keep_like=(*wish.half.keep_like, "mask"))
    made = attempts.make(replace(wish, half=half))
    again = held.emulated(made.result)
    if again.error > aim:
        return done, first  # what lies in the staging file is made anew by whoever goes on
    said = f"also in fp32: masks and scores, for rows that see no key: error {_figure(first)} → {_figure(again)}"
    return made.noted(said), again


def _masked(model: Model) -> bool:
    return any(site.mask for site in attention_scores.find(model, infer(model.ir)))


def within_16_bits(attempts: Attempts, done: Attempt, held: Verification) -> tuple[Attempt, tuple[Comparison, ...]]:
    """An int8 result as this CPU runs it: with weights of 7 bits where 8 would saturate its sums and err too much.

    They lose little elsewhere, and are right on every CPU.
    """
    measured = held.on_cpu(done.result)
    if not may_saturate(done.wish) or all(held.check.allows(c) for c in measured):
        return done, measured
    narrow = attempts.make(replace(done.wish, reduce_range=True))
    again = held.on_cpu(narrow.result)
    before, after = (max(c.error for c in each) for each in (measured, again))
    if after >= before:
        return attempts.make(done.wish), measured  # again, as each attempt takes the place of the one before
    said = f"7-bit weights ({arg('reduce_range', True)}): on this CPU, which has no VNNI, error {before:.1e}"
    return narrow.noted(Sentence(f"{said} → {after:.1e}")), again


def may_saturate(wish: Wish) -> bool:
    """Whether sums of 16 bits, which this CPU has, may be too short for the products of a result."""
    from onnxfix.eval.run import pair_sums

    return wish.int8 in ("dynamic", "static") and not wish.reduce_range and pair_sums.saturate()


def told_of_source(origin: Origin, done: Attempt, held: Verification) -> Attempt:
    """With a word on a source that is wrong in its own half arithmetic, where that was not kept as it is."""
    if not origin.halves or origin.model is origin.source:
        return done
    origin.progress("run the source in half precision")
    with contextlib.suppress(OnnxfixError):  # types in conflict, or operators without an fp32 form: not to be run
        own = held.emulated(origin.inlined, staged=False)
        if own.error > max(escalation.AIMS[kind] for kind, name in HALVES.items() if name in origin.halves):
            figure = f"is off by {own.rel_l2:.1e}" if own.sound else f"makes {in_figures(own)}"
            return done.noted(f"the source itself {figure} in its own half arithmetic")
    return done


def _figure(comparison: Comparison) -> str:
    return f"{comparison.rel_l2:.1e}" if comparison.sound else "NaN"

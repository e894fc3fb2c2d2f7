"""Job: one repair from what was asked to a result that is within the limit."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.errors import Sentence, arg
from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.types.counts import plural
from onnxfix.surgery.editor import MADE_BY
from onnxfix.surgery.recipes import Wish, band_local
from onnxfix.surgery.sites.tokens.packed import packing

from .attempts import corrections, escalation
from .attempts.attempts import Attempt, Attempts
from .search.problems import REASON
from .search.search import Answer, SearchWish, search
from .verification import in_runtime, interface, other_batches, packed_inputs
from .verification.check import OF_THE_SAME_GRAPH, Check
from .verification.metric import Metric
from .verification.source.made_up import MadeUp, reach_of
from .verification.verdict import AnotherGraphError, require, require_typed
from .verification.verification import Verification
from .verification.words import in_figures, in_words, rough

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.surgery.sites.tokens.padding import Padding

# A search measures without optimisation and verification with it as well, whose kernels round integers elsewhere: the
# 16 linears with which MiniLM errs by 0.049 are 0.0502 there.
_OF_THE_LIMIT = 0.9
# Two results of which each rounds in places of its own differ by more than either from what both stand for.
_OF_TWO_ROUNDINGS = 2.0


class Job:
    """`wish`: what is asked, which calibration and search add to; `limited`: so is the largest error."""

    def __init__(
        self,
        wish: Wish,
        attempts: Attempts,
        made_up: MadeUp | None = None,
        metric: Metric = "rel-l2",
        limited: bool = False,
    ) -> None:
        self.wish, self.packed_inputs = replace(wish, packed_inputs=False), wish.packed_inputs
        self.attempts, self.origin, self.limited = attempts, attempts.origin, limited
        self.kind, self.made_up, self.notes = wish.kind, made_up or MadeUp(), attempts.origin.notes
        # of half precision a search may measure another; a limit is one of numbers
        self.metric: Metric = metric if wish.int8 else "rel-l2"

    def calibrate(self, feeds: Sequence[Feed]) -> None:
        """Keep in fp32 what overflows on these feeds, or loses more of its result than a rounding explains."""
        self.origin.progress("calibrate")
        kept, worst = escalation.harmed(self.origin.model, self.wish, feeds, self.origin.progress)
        self.wish = escalation.keeping(self.wish, kept)
        many = plural(len(feeds), "feed")
        self.notes.append(f"calibrated on {many}: {len(kept)} nodes kept in fp32{'; ' if worst else ''}{worst}")

    def search(self, asked: SearchWish, feeds: Sequence[Feed]) -> Answer:
        """Keep in float the few nodes that bring the error within a limit. Raises OnnxfixError when none do."""
        held = self._verification(self._check(False, asked.limit), feeds)
        if corrections.may_saturate(self.wish):  # else what is found is what this CPU saturates
            self.wish = replace(self.wish, reduce_range=True)
            self.notes.append(Sentence(f"7-bit weights ({arg('reduce_range', True)}): this CPU has no VNNI"))
        if held.check.half and not self.wish.int8:  # no node makes up for a mask that stands for another number
            self._keep_masks(held, asked.limit)
        aim = replace(asked, limit=asked.limit * _OF_THE_LIMIT) if self.wish.int8 else asked
        answer = search(self.origin.model, self.wish, held, aim, self.origin.progress)
        self.wish = escalation.keeping(self.wish, tuple((name, REASON) for name in answer.nodes))
        how = " ".join(arg(*pattern) for pattern in answer.patterns) or "nothing needs to be kept"
        said = f"searched in {answer.runs} runs: {asked.metric} error {answer.error:.1e} with: {how}"
        self.notes.append(Sentence(said))
        return answer

    def _keep_masks(self, held: Verification, limit: float) -> None:
        """In fp32, where that alone brings the error within a limit."""
        plain = self.attempts.make(self.wish)
        done, _ = corrections.with_masks(self.attempts, plain, held.emulated(plain.result), held, limit)
        if done is not plain and done.wish.half.keeps_masks:
            self.wish = replace(self.wish, half=replace(self.wish.half, keep_like=done.wish.half.keep_like))
            self.notes.append(done.outcome.notes[-1])

    def _check(self, exact: bool, limit: float) -> Check:
        anew = self.wish.pack or self.wish.fuse
        made_up = replace(self.made_up, draws=self._loudness(), paddings=anew)
        made_up = replace(made_up, by_steps=self.wish.fuse_cached, mask=self._mask if anew else "")
        padding = not anew and self.metric == "rel-l2"
        whole = self._of_other_tokens if anew else frozenset()
        return Check(exact, self.kind, limit, self.wish.precision, padding, made_up, self.wish.int8, self.metric, whole)

    @functools.cached_property
    def _padding(self) -> Padding | None:
        """By the source's graph."""
        from onnxfix.surgery.sites.tokens import padding

        return padding.find(self.origin.meant)

    @property
    def _mask(self) -> str:
        """The input that hides padding; empty where none does."""
        return str(self._padding.value.name) if self._padding is not None else ""

    @property
    def _of_other_tokens(self) -> frozenset[str]:
        """Outputs of tokens that the mask says nothing of."""
        others = self._padding.others if self._padding is not None else frozenset()
        return frozenset(str(v.name) for v in self.origin.meant.graph.outputs if v.producer() in others)

    def _verification(self, check: Check, feeds: Sequence[Feed], more: Sequence[Feed] = ()) -> Verification:
        meant = self.origin.meant
        return Verification(meant, meant.path, check, feeds, more, self.origin.progress)

    def _loudness(self) -> tuple[float, ...]:
        """Of draws. What integers resolve is of the size of what their scales were taken from, or of the loudest."""
        from onnxfix.eval.inputs.feeds import LOUDNESS

        if self.wish.int8 == "static" or self.kind == "fp32":
            return ()
        return (1.0,) if self.wish.int8 else LOUDNESS

    def verified(
        self, limit: float, feeds: Sequence[Feed], more: Sequence[Feed] = ()
    ) -> tuple[Attempt, tuple[Comparison, ...], str]:
        """The result that is within the limit, what it was compared by, and that in words. Raises OnnxfixError.

        `feeds`: the inputs to compare on, made up when empty; `more`: to compare on as well.
        """
        origin = self.origin
        early: Verification | None = None
        if self.wish.fuse or self.wish.pack:  # minutes of work on a long graph, which may run on no input at all
            early = self._verification(self._check(False, limit), feeds, more)
        done = self.attempts.make(self.wish)
        if self.wish.scripts or self.wish.scripts_last:
            interface.require_same(origin.model, done.result, self.wish)
        origin.progress("verify")
        check = self._check(done.steps.applicability is Applicability.EXACT, limit)
        held = early or self._verification(check, feeds, more)
        held.check = check
        emulated: tuple[Comparison, ...] = ()
        if check.half:
            require_typed(done.result)
            # what 8 bits lose of a weight is not brought back by keeping more of the rest in fp32
            aim = check.rounding if done.wish.int8 else min(limit, escalation.AIMS[self.kind])
            done, comparison = corrections.within_aim(self.attempts, self.wish, done, held, aim)
            require(held, comparison, done.result)
            emulated = (comparison,)
        graph = self._same_graph(done, held) + self._in_blocks(done, held)
        done, measured = corrections.within_16_bits(self.attempts, done, held)
        done = corrections.told_of_source(origin, done, held)
        if own := held.not_a_number:
            done = done.noted(f"the source itself makes {own}: compared where it is finite")
        comparisons = (*emulated, *measured)
        done = self._within_own_rounding(done, comparisons, held)
        for comparison in comparisons:
            require(held, comparison, done.result)
        done = done.noted(*rough(comparisons, check))
        elsewhere, also = in_runtime.verified(done.result, done.wish.target.provider, held)
        words = in_words(comparisons, held, also) + graph
        words += ", against the source widened to fp32" if origin.halves else ""
        comparisons = (*comparisons, *([elsewhere] if elsewhere else ()))
        error = self._error_of_other_batches(done, held)
        if error is not None and error > held.check.rounding:
            self.wish = replace(self.wish, free_batch=False)
            return self.verified(limit, feeds, more)
        words += f"; other batches row by row, error at most {error:.1e}" if error is not None else ""
        if not self.packed_inputs:
            return done, comparisons, words
        done, more_compared, said = self._with_packed_inputs(done, held)
        return done, (*comparisons, *more_compared), words + said

    def _with_packed_inputs(self, done: Attempt, held: Verification) -> tuple[Attempt, tuple[Comparison, ...], str]:
        """A result that takes tokens one behind the other, which is right for batches already."""
        self.origin.progress("verify with packed inputs")
        site = packing.find(done.result)  # before another attempt takes its place
        packed = self.attempts.make(replace(done.wish, packed_inputs=True))
        compared, words = packed_inputs.verified(site, packed.result, held)
        return packed.noted(*(n for n in done.outcome.notes if n not in packed.outcome.notes)), compared, words

    def _within_own_rounding(self, done: Attempt, comparisons: Sequence[Comparison], held: Verification) -> Attempt:
        """With the limit that a source sets itself, where it parts from itself by more than was allowed, and nobody
        asked for less: one of integers with optimisation, one of floats where its weights move by half a rounding, up
        to what is still the same graph."""
        check, kept = held.check, all(held.check.allows(c) for c in comparisons)
        if kept or check.exact or self.kind != "fp32" or self.limited:
            return done
        own, said = _OF_TWO_ROUNDINGS * held.own_rounding, "rounds to integers: with optimisation it errs by {} itself"
        if not own:
            own = min(OF_THE_SAME_GRAPH, _OF_TWO_ROUNDINGS * held.sensitivity)
            said = "moves by {} where each of its weights does by half a rounding"
        if own <= check.limit:
            return done
        held.check = replace(check, limit=own)
        return done.noted(f"the source {said.format(f'{held.own_rounding or held.sensitivity:.1e}')}")

    def _same_graph(self, done: Attempt, held: Verification) -> str:
        """What a graph that was written anew and rounded errs by in fp32, in words. Raises AnotherGraphError for a
        function that is not the source's: rounding could hide one key too many, a limit for integers more."""
        if not (done.wish.fuse or done.wish.pack) or not (held.check.half or done.wish.int8):
            return ""
        comparison = held.in_fp32(self.attempts.in_fp32(done.wish))
        if comparison.error > self._of_the_same_graph(held):
            raise _another(comparison)
        return "; in fp32 the same graph " + (
            "is identical" if comparison.identical else f"errs by at most {comparison.rel_l2:.1e}"
        )

    def _of_the_same_graph(self, held: Verification) -> float:
        """The largest error of a graph that is the source in fp32."""
        return max(OF_THE_SAME_GRAPH, _OF_TWO_ROUNDINGS * held.own_rounding)

    def _in_blocks(self, done: Attempt, held: Verification) -> str:
        """What a graph errs by, in words, whose bands are in blocks wherever it may choose them, where all feeds are so
        short that it chooses rows; in fp32. Raises AnotherGraphError."""
        made = {node.metadata_props.get(MADE_BY) for node in done.result.nodes() if node.op_type == "If"}
        step = band_local(done.wish)
        if step.name not in made or not step.in_rows_only(self.origin.model, reach_of(held.feeds)):
            return ""
        comparison = held.in_fp32(self.attempts.in_fp32(replace(done.wish, either=False)))
        if comparison.error > self._of_the_same_graph(held):
            raise _another(comparison)
        return f"; with bands in blocks throughout by at most {comparison.rel_l2:.1e}"

    def _error_of_other_batches(self, done: Attempt, held: Verification) -> float | None:
        axes = other_batches.freed(self.origin.model, done.result)
        if not axes:
            return None
        error = other_batches.error(axes, self.origin.model, done.result, held.feeds, held.reference)
        if error > held.check.rounding:
            self.notes.append(f"the batch of {axes[0].size} stays baked in: on other batches rows err by {error:.1e}")
        return error


def _another(comparison: Comparison) -> AnotherGraphError:
    return AnotherGraphError(
        f"what was written anew is not the source: in fp32 it differs by {in_figures(comparison)}",
        f"nothing was written; please report this, and leave out {arg('recipe')}",
    )

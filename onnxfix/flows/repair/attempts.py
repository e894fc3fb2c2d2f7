"""Attempts: a conversion written to a staging file, measured against its source, and made again where it errs."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.errors import OnnxfixError, Sentence, arg
from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model, tensors
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.provenance import REPAIR
from onnxfix.nouns.types.counts import plural
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.type_strings import elem_string
from onnxfix.surgery.graph_pass import Outcome
from onnxfix.surgery.passes.convert_to_half import HALVES, NothingHalfError
from onnxfix.surgery.passes.inline_functions import InlineFunctions
from onnxfix.surgery.recipe import Recipe
from onnxfix.surgery.recipes import Wish, planned, recipe
from onnxfix.surgery.sites import random_numbers

from . import arrival, copies, escalation
from .plans import Plans
from .quantized import require_quantized, still_int8
from .search.problems import REASON
from .search.search import Answer, SearchWish, search
from .verification import interface, other_batches
from .verification.made_up import MadeUp
from .verification.verification import Check, Verification, require_typed
from .verification.words import in_figures, in_words, rough

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed


KEY = REPAIR
"""Metadata entry of a result, which says what was done and how it was verified."""


@dataclass(frozen=True)
class Attempt:
    """One result: what was asked, the passes that ran, what they did, and the model as it lies in the staging file."""

    wish: Wish
    steps: Recipe
    outcome: Outcome
    result: Model


class Job:
    """All attempts of one repair. `file`: where each is staged, under the name it will have."""

    def __init__(
        self,
        model: Model,
        wish: Wish,
        file: Path,
        progress: Callable[[str], None],
        checkpoint: Path | None = None,
        source_plan: Callable[[], Plan] | None = None,
        runs: bool = False,
        made_up: MadeUp | None = None,
    ) -> None:
        self.model, self.wish, self.file, self.progress = model, wish, file, progress
        self.source_plan = source_plan
        self.source, self.checkpoint, self.made_up = model, checkpoint, made_up or MadeUp()
        self.plans = Plans(wish.target)
        self.notes: list[str] = []
        self.before: tuple[Recipe, Outcome] = Recipe(()), Outcome()
        self.kind = wish.kind
        self._lower()
        self.inlined = Recipe((InlineFunctions(),)).apply(self.model)[0] if self.model.ir.functions else self.model
        types = infer(self.inlined.ir)
        self.halves = arrival.halves_of(self.inlined, types)
        why = arrival.reason_to_widen(self.inlined, wish, self.halves, types, runs)
        if why:
            self._widen(why)

    def _widen(self, why: str) -> None:
        """Go on from the model's own numbers in fp32, which the result is then compared with."""
        steps = arrival.widening(self.checkpoint)
        self.model, outcome = self._fp32(steps, "widened")
        weights = (tensor for tensor in tensors(self.source.ir) if tensor.size > 1)
        rounded = sum(1 for tensor in weights if elem_string(tensor.dtype) in self.halves)
        lost = f", exactly; what rounding took of {plural(rounded, 'weight')} cannot be brought back" if rounded else ""
        anew = " and converted anew, compared with its own weights in fp32" if self.wish.precision in HALVES else lost
        self.notes.append(f"arrived with {why}: made fp32{anew}")
        self.before = Recipe((*self.before[0].passes, *steps.passes)), _joined(self.before[1], outcome)

    def _lower(self) -> None:
        """Go on from the model in versions that the runtime knows, which the result is then compared with."""
        found = arrival.lowered(self.model)
        if found is None:
            return
        steps, made, outcome = found
        file = self.file.with_name(f"lowered-{self.file.name}")
        self.model = self.source = Model.open(made.save(file), self.model.custom_op_libraries)
        said = ", ".join(change.detail for change in outcome.changes if change.verb == "lower")
        self.notes.append(f"arrived newer than this ONNX Runtime: {said or 'converted'}, compared with that")
        self.before = steps, outcome

    def _fp32(self, steps: Recipe, called: str) -> tuple[Model, Outcome]:
        wide, outcome = steps.apply(self.source, self.progress)
        file = wide.write(self.file.with_name(f"{called}-{self.file.name}"))
        return Model.open(file, self.source.custom_op_libraries), outcome

    @functools.cached_property
    def meant(self) -> Model:
        """What results are compared with: the model or, where it has values in half precision, its own numbers in fp32.

        Half arithmetic of its own can be wrong (squares beyond 65,504), and the CPU provider has no kernels for all of
        bfloat16.
        """
        widened = self.model is not self.source
        if not widened and not self.halves and random_numbers.drawing(self.inlined):
            return self.inlined  # what draws has other names in a function's body
        return self.model if widened or not self.halves else self._fp32(arrival.exact_widening(), "meant")[0]

    def attempt(self, wish: Wish) -> Attempt:
        """Run the passes on a copy and write it, without a copy more than the source has where that can be. Raises
        OnnxfixError when nothing came of it."""
        made = self._attempt(wish)
        if self.source_plan is None or wish.precision not in HALVES or wish.target.provider.is_host:
            return made
        source, tried = self.source_plan(), made
        fewest = more = copies.added(self.plans.of(made.result), source)
        for _ in range(copies.ROUNDS):
            kept = copies.beside(tried.result, self.plans.of(tried.result), source) if more else ()
            if not kept:
                break
            try:
                tried = self._attempt(escalation.keeping(tried.wish, kept))
            except NothingHalfError:
                break
            more = copies.added(self.plans.of(tried.result), source)
            if more < fewest:
                made, fewest = tried, more
        return made if made is tried else self._attempt(made.wish)  # each attempt takes the place of the one before

    def _attempt(self, wish: Wish) -> Attempt:
        steps, last = recipe(wish, self.model), planned(wish, self.plans.of)
        draft, outcome = steps.apply(self.model, self.progress)
        if wish.int8:
            require_quantized(draft, self.model, outcome.notes)
        draft.ir.metadata_props.pop(KEY, None)
        earlier, further = self.before[1], self._written(draft, last)
        changes = (*earlier.changes, *outcome.changes, *further.changes)
        notes = (*self.notes, *earlier.notes, *outcome.notes, *still_int8(wish, self.model), *further.notes)
        passes = (*self.before[0].passes, *steps.passes, *last.passes)
        written = Model.open(self.file, self.model.custom_op_libraries)
        return Attempt(wish, Recipe(passes), Outcome(changes, notes), written)

    def _written(self, draft: Model, last: Recipe) -> Outcome:
        """Stage a model, with what the last passes change. These mostly find nothing to do but take as long as writing,
        so both happen at once, and the model is written again where they did find something."""
        with ThreadPoolExecutor(1) as background:
            writing = background.submit(draft.clone().write, self.file)
            result, outcome = last.apply(draft, self.progress)
            self.progress("write")
            writing.result()
        if outcome.changes:
            result.write(self.file)
        return outcome

    def calibrate(self, feeds: Sequence[Feed]) -> None:
        """Keep in fp32 what overflows on these feeds, or loses more of its result than a rounding explains."""
        self.progress("calibrate")
        kept, worst = escalation.harmed(self.model, self.wish, feeds, self.progress)
        self.wish = escalation.keeping(self.wish, kept)
        many = plural(len(feeds), "feed")
        self.notes.append(f"calibrated on {many}: {len(kept)} nodes kept in fp32{'; ' if worst else ''}{worst}")

    def search(self, asked: SearchWish, feeds: Sequence[Feed]) -> Answer:
        """Keep in float the few nodes that bring the error within a limit. Raises OnnxfixError when none do."""
        held = Verification(self.meant, self.meant.path, self._check(False, asked.limit), feeds, progress=self.progress)
        if self._may_saturate():  # else what is found is what this CPU saturates
            self.wish = replace(self.wish, reduce_range=True)
            self.notes.append(Sentence(f"7-bit weights ({arg('reduce_range', True)}): this CPU has no VNNI"))
        answer = search(self.model, self.wish, held, asked, self.progress)
        self.wish = escalation.keeping(self.wish, tuple((name, REASON) for name in answer.nodes))
        how = " ".join(arg(*pattern) for pattern in answer.patterns) or "nothing needs to be kept"
        said = f"searched in {answer.runs} runs: {asked.metric} error {answer.error:.1e} with: {how}"
        self.notes.append(Sentence(said))
        return answer

    def _check(self, exact: bool, limit: float) -> Check:
        made_up = replace(self.made_up, draws=self._loudness())
        padding, scheme = not self.wish.fuse, self.wish.int8
        return Check(exact, self.kind, limit, self.wish.precision, padding, made_up, scheme)

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
        done = self.attempt(self.wish)
        if self.wish.scripts or self.wish.scripts_last:
            interface.require_same(self.model, done.result, self.wish)
        self.progress("verify")
        check = self._check(done.steps.applicability is Applicability.EXACT, limit)
        held = Verification(self.meant, self.meant.path, check, feeds, more, self.progress)
        emulated: tuple[Comparison, ...] = ()
        if check.half:
            require_typed(done.result)
            # what 8 bits lose of a weight is not brought back by keeping more of the rest in fp32
            aim = limit if done.wish.int8 else min(limit, escalation.AIMS[self.kind])
            done, comparison = self._within_aim(done, held, aim)
            held.require(comparison, done.result)
            emulated = (comparison,)
        done, measured = self._within_16_bits(done, held)
        done = self._told_of_source(done, held)
        if (own := held.not_a_number()) is not None:
            first = f", first in {own[0]}" if own[0] else ""
            done = _noted(done, f"the source itself makes {own[1]}{first}: compared where it is finite")
        comparisons = (*emulated, *measured)
        for comparison in comparisons:
            held.require(comparison, done.result)
        for note in rough(comparisons, check):
            done = _noted(done, note)
        words = in_words(comparisons, held)
        if self.halves:
            words += ", against the source widened to fp32"
        if axes := other_batches.freed(self.model, done.result):
            error = other_batches.error(axes, self.model, done.result, held.feeds, held.reference)
            if error > limit:
                self.wish = replace(self.wish, free_batch=False)
                size = axes[0].size
                self.notes.append(f"the batch of {size} stays baked in: on other batches rows err by {error:.1e}")
                return self.verified(limit, feeds, more)
            words += f"; other batches row by row, error at most {error:.1e}"
        return done, comparisons, words

    def _within_16_bits(self, done: Attempt, held: Verification) -> tuple[Attempt, tuple[Comparison, ...]]:
        """An int8 result as this CPU runs it: with weights of 7 bits where 8 would saturate its sums and err too much.

        They lose little elsewhere, and are right on every CPU.
        """
        measured = held.on_cpu(done.result)
        if not self._may_saturate() or all(c.within(held.check.limit) for c in measured):
            return done, measured
        narrow = self.attempt(replace(done.wish, reduce_range=True))
        again = held.on_cpu(narrow.result)
        before, after = (max(c.error for c in each) for each in (measured, again))
        if after >= before:
            return self.attempt(done.wish), measured  # again, as each attempt takes the place of the one before
        said = f"7-bit weights ({arg('reduce_range', True)}): on this CPU, which has no VNNI, error {before:.1e}"
        return _noted(narrow, Sentence(f"{said} → {after:.1e}")), again

    def _may_saturate(self) -> bool:
        from onnxfix.eval.run import pair_sums

        return self.wish.int8 in ("dynamic", "static") and not self.wish.reduce_range and pair_sums.saturate()

    def _within_aim(self, done: Attempt, held: Verification, aim: float) -> tuple[Attempt, Comparison]:
        """The first attempt that errs no more than `aim`; if there is none, the plain one if it is within the limit,
        since fp32 that does not help is only slow, or else the one that errs least."""
        first = held.emulated(done.result)
        if first.error > aim and self.halves and self.model is self.source:
            self._widen("half arithmetic that errs")
            done = self.attempt(self.wish)
            first = held.emulated(done.result)
        if first.error <= aim:
            return done, first
        tried = [(done.wish, first, "")]
        for more in escalation.escalations(self.model, done.wish, held.telling(first), first.sound, self.progress):
            self.progress(f"keep {more.what} in fp32")
            wish = escalation.keeping(done.wish, more.nodes)
            with contextlib.suppress(NothingHalfError):  # that would be the source again
                tried.append((wish, held.emulated(self.attempt(wish).result), more.what))
            if tried[-1][1].error <= aim:
                break
        wish, comparison, what = min(tried, key=lambda attempt: attempt[1].error)
        if comparison.error > aim and first.error <= held.check.limit:
            wish, comparison, what = tried[0]
        made = self.attempt(wish)  # again, as each attempt takes the place of the one before
        note = f"also in fp32: {what}: error {_figure(first)} → {_figure(comparison)}"
        return (_noted(made, note) if what else made), comparison

    def _told_of_source(self, done: Attempt, held: Verification) -> Attempt:
        """With a word on a source that is wrong in its own half arithmetic, where that was not kept as it is."""
        if not self.halves or self.model is self.source:
            return done
        self.progress("run the source in half precision")
        with contextlib.suppress(OnnxfixError):  # types in conflict, or operators without an fp32 form: not to be run
            own = held.emulated(self.inlined, staged=False)
            if own.error > max(escalation.AIMS[kind] for kind, name in HALVES.items() if name in self.halves):
                figure = f"is off by {own.rel_l2:.1e}" if own.sound else f"makes {in_figures(own)}"
                return _noted(done, f"the source itself {figure} in its own half arithmetic")
        return done


def _joined(first: Outcome, second: Outcome) -> Outcome:
    return Outcome((*first.changes, *second.changes), (*first.notes, *second.notes))


def _noted(attempt: Attempt, note: str) -> Attempt:
    return replace(attempt, outcome=Outcome(attempt.outcome.changes, (*attempt.outcome.notes, note)))


def _figure(comparison: Comparison) -> str:
    return f"{comparison.rel_l2:.1e}" if comparison.sound else "NaN"

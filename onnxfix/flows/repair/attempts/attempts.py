"""Attempts: a conversion written to a staging file, each in the place of the one before."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.provenance import REPAIR
from onnxfix.surgery.graph_pass import Outcome
from onnxfix.surgery.passes.convert_to_half import HALVES, NothingHalfError
from onnxfix.surgery.recipe import Recipe
from onnxfix.surgery.recipes import Wish, planned, recipe
from onnxfix.surgery.sites.half.half_plan import HalfOptions

from . import copies, escalation
from .origin import Origin
from .packed import require_packed, require_packed_inputs, why_not
from .plans import Plans
from .quantized import require_quantized, still_int8


@dataclass(frozen=True)
class Attempt:
    """One result: what was asked, the passes that ran, what they did, and the model as it lies in the staging file."""

    wish: Wish
    steps: Recipe
    outcome: Outcome
    result: Model

    def noted(self, *notes: str) -> Attempt:
        return replace(self, outcome=self.outcome.noted(*notes))


class Attempts:
    """All of one repair. `source_plan`: where the source's nodes run, None where copies do not count."""

    def __init__(self, origin: Origin, plans: Plans, source_plan: Callable[[], Plan] | None = None) -> None:
        self.origin, self.plans, self.source_plan = origin, plans, source_plan

    def make(self, wish: Wish) -> Attempt:
        """Run the passes on a copy and write it, without a copy more than the source has where that can be. Raises
        OnnxfixError when nothing came of it."""
        made = self._make(wish)
        if self.source_plan is None or wish.precision not in HALVES or wish.target.provider.is_host:
            return made
        source, tried = self.source_plan(), made
        fewest = more = copies.added(self.plans.of(made.result), source)
        for _ in range(copies.ROUNDS):
            kept = copies.beside(tried.result, self.plans.of(tried.result), source) if more else ()
            if not kept:
                break
            try:
                tried = self._make(escalation.keeping(tried.wish, kept))
            except NothingHalfError:
                break
            more = copies.added(self.plans.of(tried.result), source)
            if more < fewest:
                made, fewest = tried, more
        return made if made is tried else self._make(made.wish)  # each attempt takes the place of the one before

    def _make(self, wish: Wish) -> Attempt:
        origin = self.origin
        steps, last = recipe(wish, origin.model), planned(wish, self.plans.of)
        draft, outcome = steps.apply(origin.model, origin.progress)
        if wish.pack and wish.wherever:
            outcome = outcome.noted(*filter(None, [why_not(draft)]))
        elif wish.pack:
            require_packed(draft)
        if wish.packed_inputs:
            require_packed_inputs(draft)
        if wish.int8:
            require_quantized(draft, origin.model, outcome.notes, wish.int8)
        draft.ir.metadata_props.pop(REPAIR, None)
        outcome = Outcome().noted(*origin.notes).then(origin.outcome).then(outcome)
        outcome = outcome.noted(*still_int8(wish, origin.model)).then(self._written(draft, last))
        passes = (*origin.steps.passes, *steps.passes, *last.passes)
        return Attempt(wish, Recipe(passes), outcome, Model.open(origin.file, origin.model.custom_op_libraries))

    def in_fp32(self, wish: Wish) -> Model:
        """The graph of a result before it was rounded, in memory: a CPU computes all of it as it stands, but for the
        numbers that a half has."""
        same = replace(wish, precision="fp32", half=HalfOptions(), int8="", inputs=(), reduce_range=False, heads=False)
        same = replace(same, bits=8, block_size=0)
        return recipe(same, self.origin.model).apply(self.origin.model, self.origin.progress)[0]

    def _written(self, draft: Model, last: Recipe) -> Outcome:
        """Stage a model, with what the last passes change. These mostly find nothing to do but take as long as writing,
        so both happen at once, and the model is written again where they did find something."""
        with ThreadPoolExecutor(1) as background:
            writing = background.submit(draft.clone().write, self.origin.file)
            result, outcome = last.apply(draft, self.origin.progress)
            self.origin.progress("write")
            writing.result()
        if outcome.changes:
            result.write(self.origin.file)
        return outcome

"""Recipe: ordered passes, applied to a copy of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model

from . import graph_pass
from .graph_pass import Outcome, Step


@dataclass(frozen=True)
class Recipe:
    """Passes in order. `applicability` is the weakest of them: one numeric pass makes the result numeric."""

    passes: tuple[Step, ...]

    @property
    def applicability(self) -> Applicability:
        kinds = {p.applicability for p in self.passes}
        return Applicability.NUMERIC if Applicability.NUMERIC in kinds else Applicability.EXACT

    def apply(self, model: Model, progress: Callable[[str], None] = lambda step: None) -> tuple[Model, Outcome]:
        """Run all passes on a clone; the given model stays as it is."""
        result = model.clone()
        outcomes = []
        for step in self.passes:
            progress(step.name)
            outcomes.append(graph_pass.run(step, result))
        changes = tuple(c for o in outcomes for c in o.changes)
        return result, Outcome(changes, tuple(n for o in outcomes for n in o.notes))

"""Repaired: what a repair did, as it is shown and written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxfix.diagnose.remedy import FASTER
from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.model import Model
from onnxfix.nouns.report import Report
from onnxfix.render.shown import Shown, Summary
from onnxfix.render.table import Column
from onnxfix.surgery.graph_pass import Outcome
from onnxfix.surgery.recipe import Recipe

from .search.search import Answer

SCHEMA = "onnxfix.repair/1"


@dataclass(frozen=True, repr=False)
class Repaired(Shown):
    """What a repair did. `output` is None for a dry run and a result that stays in memory; `verified` says in words how
    the result was checked."""

    source: Path
    output: Path | None
    kind: str
    recipe: Recipe
    outcome: Outcome
    before: Report
    after: Report
    comparisons: tuple[Comparison, ...]
    verified: str
    source_bytes: int
    result_bytes: int
    search: Answer | None = None
    due_bytes: int | None = None
    """What the result would take with each weight once and in the type that was asked for; None where unknown."""
    memory: Any = None
    """The result of a model in memory, of the type that was given."""

    def __repr__(self) -> str:
        return f"<Repaired {self.output or self.source} ({self.kind}): {self.verified}>"

    @property
    def model(self) -> Any:
        """The result in memory: of the type that was given, an onnx_ir.Model of a file; None after a dry run."""
        return self.memory if self.output is None else Model.open(self.output).ir

    def findings(self) -> list[tuple[str, int, int]]:
        """What there was and is: severity, code and name of a finding, then the Memcpy; their numbers before and
        after. What could be faster is only told of a repair that was asked to make it so."""
        told = [[f for f in r.findings if f.code not in self._unasked()] for r in (self.before, self.after)]
        before, after = (Counter(f"{f.severity} {f.code} {f.name}" for f in findings) for findings in told)
        found = [(key, before[key], after[key]) for key in dict.fromkeys([*before, *after])]
        return [*found, ("Memcpy nodes", len(self.before.plan.copies), len(self.after.plan.copies))]

    def _unasked(self) -> set[str]:
        """Codes of what could be faster, where no pass of the recipe makes it so."""
        repaired = {code for step in self.recipe.passes for code in getattr(step, "repairs", ())}
        faster = repaired & {"F002", "F003", "F004"}
        return set(FASTER) - repaired - (set(FASTER) if faster else set())

    def linears(self) -> tuple[str, str]:
        """How many linears are quantized, before and after: `16 of 18`."""
        before, after = (
            f"{r.quantization['quantized']} of {r.quantization['linears']}" for r in (self.before, self.after)
        )
        return before, after

    def in_short(self) -> Summary:
        rows = [(name, str(before), str(after)) for name, before, after in self.findings()]
        title = f"{self.output or self.source}, {self.kind}, for {self.before.target['provider']}: {self.verified}"
        return Summary.of(
            title,
            ("finding", Column("before", True), Column("after", True)),
            [*rows, ("linears quantized", *self.linears())],
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "source": str(self.source),
            "output": str(self.output) if self.output else None,
            "kind": self.kind,
            "passes": [p.name for p in self.recipe.passes],
            "applicability": self.recipe.applicability.value,
            "changes": dict(Counter(f"{c.pass_name}: {c.verb}" for c in self.outcome.changes)),
            "notes": list(self.outcome.notes),
            "before": self.before.summary(),
            "after": self.after.summary(),
            "findings": [f.as_dict() for f in self.after.findings],
            "quantization": dict(self.after.quantization),
            "comparisons": [c.as_dict() for c in self.comparisons],
            "verified": self.verified,
            "source_bytes": self.source_bytes,
            "result_bytes": self.result_bytes,
            "due_bytes": self.due_bytes,
            "search": self.search.as_dict() if self.search else None,
        }

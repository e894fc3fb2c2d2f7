"""Diagnoses: the reports of several models as one, with one table, one document in each format, and one verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfix.render.shown import Shown

if TYPE_CHECKING:
    from onnxfix.render.shown import Summary

    from .diagnosis import Diagnosis

SCHEMA = "onnxfix.diagnoses/1"


@dataclass(frozen=True)
class Failed:
    """A model that could not be diagnosed, and why."""

    path: Path
    error: str


@dataclass(frozen=True, repr=False)
class Diagnoses(Shown):
    """In the order of the files; `failed` are those without a report."""

    reports: tuple[Diagnosis, ...]
    failed: tuple[Failed, ...] = ()

    def __repr__(self) -> str:
        return f"<Diagnoses of {len(self.reports)} models: {self.counted()}>"

    def __iter__(self) -> Iterator[Diagnosis]:
        return iter(self.reports)

    def __len__(self) -> int:
        return len(self.reports)

    @property
    def files(self) -> tuple[Path, ...]:
        """All that the models are made of."""
        own = [Path(str(report.model["path"])) for report in self.reports]
        return (*own, *(file for report in self.reports for file in report.files))

    def summary(self) -> dict[str, int]:
        counts = [report.summary() for report in self.reports]
        return {key: sum(each[key] for each in counts) for key in ("error", "warning", "note")}

    def counted(self) -> str:
        """`2 errors, 0 warnings, 7 notes`"""
        return ", ".join(f"{count:,} {name}{'s' * (count != 1)}" for name, count in self.summary().items())

    def fails(self, fail_on: str) -> bool:
        """Whether one of the models does."""
        return any(report.fails(fail_on) for report in self.reports)

    def as_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "reports": [report.as_dict() for report in self.reports],
            "failed": [{"path": str(each.path), "error": each.error} for each in self.failed],
            "summary": self.summary(),
        }

    def in_short(self) -> Summary:
        from onnxfix.render.shown import Summary
        from onnxfix.render.table import Column

        counts = [Column(name, True) for name in ("errors", "warnings", "notes", "Memcpy")]
        rows = [*map(_row, self.reports), *((str(f.path), "", "", "", "", "", f.error) for f in self.failed)]
        title = f"{len(self.reports)} models: {self.counted()}"
        title += f", {len(self.failed)} could not be read" if self.failed else ""
        return Summary.of(title, ["model", *counts, "quantized", "found"], rows)

    def to_sarif(self) -> str:
        """SARIF 2.1.0, for code scanning: one run."""
        from onnxfix import __version__
        from onnxfix.diagnose.registry import all_rules
        from onnxfix.diagnose.report import sarif
        from onnxfix.render.shown import json_text

        return json_text(sarif.document(self.reports, all_rules(), __version__, Path.cwd()))

    def to_github(self) -> str:
        """Annotations, a line each, as a workflow's log takes them."""
        from onnxfix.diagnose.report import github

        lines = [github.lines(report, Path.cwd()) for report in self.reports]
        return "\n".join([*filter(None, lines), *(github.failed(each.path, each.error) for each in self.failed)])


def _row(report: Diagnosis) -> tuple[str, ...]:
    counts = report.summary()
    coverage = f"{report.quantization['quantized']} of {report.quantization['linears']}"
    missed = [f"{each.name} {each.found:,.4g}, limit {each.limit:,.4g}" for each in report.budgets if not each.is_met]
    codes = dict.fromkeys(f"{f.code} {f.name}" for f in report.findings if f.severity != "note")
    said = ", ".join([*missed, *codes]) or report.next_step
    return (str(report.model["path"]), *map(str, counts.values()), str(len(report.plan.copies)), coverage, said)

"""Diagnosis: a report that shows itself, and writes itself in every format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix.nouns.report import Report
from onnxfix.render.shown import Shown

if TYPE_CHECKING:
    from onnxfix.render.shown import Summary


@dataclass(frozen=True, repr=False)
class Diagnosis(Report, Shown):
    """A report that can be shown and written; `files` are the model's own, which no report may overwrite."""

    files: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {severity}s" for severity, count in self.summary().items())
        return f"<Diagnosis of {self.model['path']} on {self.target['provider']}: {counts}>"

    def to_html(self) -> str:
        """The page with the placement drawn: one file, which loads nothing else."""
        from onnxfix.diagnose.registry import all_rules
        from onnxfix.diagnose.report import html

        return html.page(self, all_rules())

    def to_markdown(self) -> str:
        """A pull request comment."""
        from onnxfix.diagnose.report import markdown

        return markdown.comment(self)

    def to_sarif(self) -> str:
        """SARIF 2.1.0, for code scanning."""
        from onnxfix import __version__
        from onnxfix.diagnose.registry import all_rules
        from onnxfix.diagnose.report import sarif
        from onnxfix.render.shown import json_text

        return json_text(sarif.document([self], all_rules(), __version__, Path.cwd()))

    def to_github(self) -> str:
        """Annotations, a line each, as a workflow's log takes them."""
        from onnxfix.diagnose.report import github

        return github.lines(self, Path.cwd())

    def in_short(self) -> Summary:
        from onnxfix.diagnose.report.places import groups
        from onnxfix.render.shown import Summary

        found = [(g.first, p) for g in groups(self.findings) for p in g.places()]
        rows = [
            (f.severity.value, f"{f.code} {f.name}", str(place), place.first.message, f.repair) for f, place in found
        ]
        copies = f"{len(self.plan.copies)} Memcpy on {self.target['provider']}"
        linears = f"{self.quantization['quantized']} of {self.quantization['linears']} linears quantized"
        title = f"{self.model['path']}: {copies}, {linears}"
        return Summary.of(title, ("severity", "finding", "where", "what", "repair"), rows)

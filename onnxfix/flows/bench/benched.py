"""Benched: the report of a bench, as it is shown and written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix.eval.bench.bench import BenchReport
from onnxfix.eval.figures.verdict import which_is_fastest
from onnxfix.render.shown import Shown, Summary
from onnxfix.render.words import plural

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, repr=False)
class Bench(BenchReport, Shown):
    """A report of a bench that can be shown and written; `files` were written."""

    files: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        count = plural(len(self.rows), "variant")
        return f"<Bench of {count} on {self.method.provider}: {which_is_fastest(self.fastest)}>"

    def frame(self) -> pl.DataFrame:
        """One row a variant and point, as results.parquet has them."""
        from onnxfix.eval.report.files import frame

        return frame(self)

    def to_html(self) -> str:
        """The page: which variant to deploy, plots, the table."""
        from onnxfix.diagnose.registry import all_rules
        from onnxfix.eval.report.markdown import method
        from onnxfix.eval.report.page import page

        return page(self.as_dict(), method(self), all_rules())

    def to_markdown(self) -> str:
        from onnxfix.eval.report.markdown import markdown

        return markdown(self)

    def in_short(self) -> Summary:
        from onnxfix.eval.report.contents import brief
        from onnxfix.eval.report.markdown import answer

        return Summary(answer(self), brief(self.as_dict()))

    def write(self, folder: Path) -> tuple[Bench, list[Path]]:
        """Write summary.json, results.parquet, REPORT.md and report.html; a page that cannot be drawn is a note."""
        from onnxfix.eval.report.files import write_report

        try:
            return self, write_report(self, folder, self.to_html())
        except Exception as error:  # hours of measurements must not be lost to a plot
            note = f"report.html could not be drawn: {type(error).__name__}: {error}"
            noted = replace(self, notes=(*self.notes, note))
            return noted, write_report(noted, folder)

"""Write a bench: a table for the terminal, and the files that say the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import staged
from onnxfix.render import terminal

from . import contents
from .markdown import markdown

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from onnxfix.eval.bench.bench import BenchReport

MODULES = 8  # rows of a profile that a terminal shows; the files have 20
WIDE = 150
# REPORT.md is written last, so that all other files are there once it is.
FILES = ("results.parquet", "summary.json", "REPORT.md")
NAMES = (*FILES, "report.html")


def write_report(report: BenchReport, folder: Path, page: str = "") -> list[Path]:
    """Write the files into `folder`, made when absent; each is replaced whole. `page`: report.html, where there is one.

    Raises OnnxfixError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OnnxfixError(f"cannot make {folder}: {error.strerror}", f"give another {arg('output')}") from error
    files = (*FILES[:-1], "report.html", FILES[-1]) if page else FILES
    with staged(folder) as stage:
        frame(report).write_parquet(stage / "results.parquet")
        summary = json.dumps(report.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        (stage / "summary.json").write_text(summary + "\n", encoding="utf-8")
        (stage / "REPORT.md").write_text(markdown(report), encoding="utf-8")
        if page:
            (stage / "report.html").write_text(page, encoding="utf-8")
        for name in files:
            (stage / name).replace(folder / name)
    return [folder / name for name in files]


def frame(report: BenchReport) -> pl.DataFrame:
    """One row a variant and point; what is not of a point (quality, memory, size) stands in the row of the first."""
    import polars as pl

    rows: list[dict[str, Any]] = []
    main, method = report.method.points[0], report.method
    how = {"provider": method.provider, "threads": method.threads, "workload": method.workload}
    for row in report.rows:
        flat = row.as_dict()
        place = {"batch": main.batch, "length": main.length}
        rows.append({"variant": flat.pop("variant"), **place, "main": True, **flat, **how})
    for point in report.points:
        if (point.batch, point.length) != (main.batch, main.length):
            rows.append({**point.as_dict(), "main": False, **how})
    return pl.from_dicts(rows, infer_schema_length=None, schema_overrides={"batch": pl.Int64, "length": pl.Int64})


def table(report: BenchReport, width: int = 100) -> Table:
    """The main figures for a terminal of `width` columns, 100 or more; a wide one also has the exporter."""
    document = report.as_dict()
    shown, alike = contents.brief(document), len(set(map(contents.batched, document["rows"]))) == 1
    if width < WIDE:  # what is the same in all rows is said below the table
        shown = shown.without("exporter", *(["batching"] if alike else []))
    return terminal.table(shown)


def points_table(report: BenchReport) -> Table | None:
    """Milliseconds a sample by batch size and length; None where there is one point alone."""
    shown = replace(contents.sweep(report.as_dict()), title="ms/sample")
    return terminal.table(shown) if len(report.method.points) > 1 else None


def profile_tables(report: BenchReport) -> list[tuple[str, Table]]:
    """Of each profiled variant a line, how far it is from the machine's own peak rates, and its time by module."""
    return [
        (f"{variant}: {contents.profile_line(found)}", terminal.table(contents.shares(found, "scope").first(MODULES)))
        for variant, found in report.profiles.items()
        if "by" in found
    ]

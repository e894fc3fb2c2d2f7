"""Write a bench: a table for the terminal, and the files that say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import staged

from .markdown import cells, headings, markdown, profile_line, sweep

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from onnxfix.eval.bench.bench import BenchReport

# REPORT.md last: who sees it finds the others.
TERMINAL_ROWS = 8  # of a profile; the files hold 20
FILES = ("results.parquet", "summary.json", "REPORT.md")


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
        rows.append({"variant": flat.pop("variant"), **main.as_dict(), "main": True, **flat, **how})
    for point in report.points:
        if (point.batch, point.length) != (main.batch, main.length):
            rows.append({**point.as_dict(), "main": False, **how})
    return pl.from_dicts(rows, infer_schema_length=None, schema_overrides={"batch": pl.Int64, "length": pl.Int64})


def table(report: BenchReport) -> Table:
    """The main figures for a terminal of 100 columns or more; the files also say the exporter."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    titles = headings(report)
    kept = [index for index, title in enumerate(titles) if title != "exporter"]
    for title in (titles[index] for index in kept):
        text, least = title in ("variant", "result"), {"result": 28, "variant": 22}.get(title)
        drawn.add_column(title, justify="left" if text else "right", overflow="fold", no_wrap=not text, min_width=least)
    best = report.best
    for row in report.rows:
        style = "red" if row.failure else "bold" if best is not None and row.variant == best.variant else None
        shown = cells(row, report.heads)
        drawn.add_row(*(escape(shown[index]) for index in kept), style=style)
    return drawn


def points_table(report: BenchReport) -> Table | None:
    """Milliseconds a sample by batch size and length; None where there is one point alone."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    points = report.method.points
    if len(points) < 2:
        return None
    drawn = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False, title="ms/sample", title_justify="left")
    drawn.add_column("variant", overflow="fold")
    for point in points:
        drawn.add_column(str(point), justify="right")
    for variant, *times in sweep(report)[1:]:
        drawn.add_row(escape(variant), *times)
    return drawn


def profile_tables(report: BenchReport) -> list[tuple[str, Table]]:
    """Of each profiled variant a line, how far it is from the machine's own peak rates, and its time by module."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    drawn = []
    for variant, found in report.profiles.items():
        if "by" not in found:
            continue
        table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        for title in ("torch module", "ms", "share", "nodes"):
            table.add_column(title, justify="left" if title == "torch module" else "right", overflow="fold")
        for row in found["by"]["scope"][:TERMINAL_ROWS]:
            table.add_row(escape(row["name"] or "-"), f"{row['ms']:.2f}", f"{row['share']:.1%}", str(row["count"]))
        drawn.append((f"{variant}: {profile_line(found)}", table))
    return drawn

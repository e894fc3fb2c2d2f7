"""`onnxfix demo`: the whole tool on the bundled model, ending in one table with before beside after."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxfix.nouns.errors import spoken

from . import console, voice
from .output import emit_json

if TYPE_CHECKING:
    from rich.table import Table

    from onnxfix.eval.bench.bench import BenchReport
    from onnxfix.eval.figures.row import BenchRow
    from onnxfix.flows.demo import Demo, Row

ROUNDS, BATCH = 3, 16


@click.command("demo", short_help="Do all of it on the bundled two-head ModernBERT and print one table.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default="onnxfix-demo", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), metavar="ROWS", help="Rows of the holdout to bench on.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(output: Path, limit: int | None, form: str) -> int:
    """Export the bundled two-head ModernBERT three ways, diagnose, repair and bench each, and print one table."""
    from onnxfix.flows import demo

    with console.progress("demo", demo.STEPS) as advance:
        made = demo.make(output, advance)
    made.bench = _bench(made, limit)
    if form == "json":
        emit_json(made.as_dict())
    else:
        _show(made)
    return 0 if all(_row(made.bench, r).measured for r in made.rows if r.after) else 1


def _bench(made: Demo, limit: int | None) -> BenchReport:
    from onnxfix.eval.bench.bench import run_bench, step_count
    from onnxfix.eval.inputs.point import Point
    from onnxfix.eval.report.files import write_report
    from onnxfix.flows.bench.data import Wanted
    from onnxfix.flows.bench.setup import setup

    rows = [r for r in made.rows if not r.failure]
    found = setup(Wanted(models=tuple(r.path for r in rows), limit=limit, bucket=True, torchao=False))
    points = (Point(BATCH),)
    steps = step_count(found.variants, found.workload, rounds=ROUNDS, points=points)
    with console.progress("bench", steps) as advance:
        report = run_bench(
            found.variants, found.workload, rounds=ROUNDS, points=points, notes=found.notes, voice=voice.option,
            progress=advance,
        )  # fmt: skip
    write_report(report, made.folder / "bench")
    return report


def _row(report: BenchReport | None, row: Row) -> BenchRow:
    from onnxfix.eval.figures.row import BenchRow

    found = (r for r in (report.rows if report else ()) if r.variant == str(row.path))
    return next(found, BenchRow(row.name, "onnx", "", failure=spoken(row.failure or "not measured", voice.option)))


def _show(made: Demo) -> None:
    from rich.text import Text

    out = console.out()
    assert made.bench is not None
    torch_rows = [r for r in made.bench.rows if r.kind == "torch"]
    table = _table(made.bench.heads)
    for row in torch_rows:
        role = "the baseline" if row.variant == made.bench.method.baseline else "the reference"
        _add(table, row.variant, "-", row, row.failure or role, made.bench.heads)
    for after, title in ((False, "before"), (True, "after onnxfix repair")):
        table.add_section()
        table.add_row(f"[bold]{title}[/]")
        for made_row in (r for r in made.rows if r.after is after):
            measured = _row(made.bench, made_row)
            said = made_row.said if measured.measured or made_row.said else measured.failure
            _add(table, made_row.name, made_row.exporter, measured, said, made.bench.heads)
    out.print(table)
    method = made.bench.method
    out.print(Text(f"{method.workload}; batch {method.batch_size}, {method.rounds} interleaved rounds on CPU"))
    out.print(Text("Memcpy on CUDA is a forecast for ONNX Runtime's CUDA provider; int8 rows are meant for CPU"))
    out.print(Text(f"models and reports: {made.folder}; next: onnxfix diagnose {made.folder}/unoptimized.onnx"))


def _table(heads: list[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    table.add_column("variant", no_wrap=True)
    table.add_column("exporter or engine", no_wrap=True)
    for name in ("size\nMB", "ms/\nsample", "memory\nMB", *(f"{head}\nF1" for head in heads)):
        table.add_column(name, justify="right")
    table.add_column("result", overflow="fold")
    return table


def _add(table: Table, name: str, exporter: str, row: BenchRow, said: str, heads: list[str]) -> None:
    from rich.text import Text

    def figure(value: float, digits: int) -> str:
        return "err" if math.isnan(value) else f"{value:,.{digits}f}"

    scores = [figure(row.heads[head].f1, 4) if head in row.heads else "err" for head in heads]
    cells = [figure(row.size_mb, 1), figure(row.ms_per_sample, 2), figure(row.memory_mb, 0), *scores]
    bad = row.failure or "(" in said
    table.add_row(name, exporter, *cells, Text(spoken(said, voice.option), style="red" if bad else "green"))

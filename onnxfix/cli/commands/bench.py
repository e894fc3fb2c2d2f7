"""`onnxfix bench`: compare ONNX files with torch and each other in latency, memory, size and task metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxfix.cli import console, voice
from onnxfix.cli.options import file
from onnxfix.cli.options.bench import options
from onnxfix.cli.output import emit_json
from onnxfix.nouns.errors import OnnxfixError, arg

if TYPE_CHECKING:
    from onnxfix.flows.bench.benched import Bench


@click.command("bench", short_help="Compare models with torch in latency, memory, size and task metrics.")
@click.argument("models", nargs=-1, metavar="[MODEL]...", type=file)
@options
def command(models: tuple[Path, ...], form: str, **given: Any) -> int:
    """Compare each MODEL with torch fp32 and bf16 (default: model.onnx here and the files onnxfix made from it).

    --sweep makes the files itself, from the checkpoint named or the bundled one: 'seed' are torch and the conversions
    of the report that gave up on ONNX, 'repaired' what onnxfix makes of each export, 'all' every row there is. What
    cannot be made or run is a row with its reason.

    The checkpoint is found in what `onnxfix export` recorded in the file. Without --data, rows are made up and there
    are no F1 columns; a model of the bundled demo brings its own labelled rows. Writes summary.json, results.parquet,
    REPORT.md and report.html. Exit code 1 when no model could be measured, and with --baseline when anything is worse
    than it was beyond the tolerance.
    """
    from onnxfix.flows.bench.asked import bench

    try:
        report = bench(models, **given, voice=voice.option, progress=console.progress)
    except KeyboardInterrupt:
        raise OnnxfixError("interrupted", f"{arg('resume', True)} goes on where it was") from None
    if form == "json":
        emit_json(report.as_dict())
    else:
        _show(report)
    return 0 if any(row.measured for row in report.rows) and not report.regressions else 1


def _show(report: Bench) -> None:
    from rich.text import Text

    from onnxfix.eval.report.files import points_table, profile_tables, table
    from onnxfix.eval.report.markdown import answer

    out = console.out()
    out.print(table(report, out.width))
    out.print(Text(answer(report), style="bold"))
    if (swept := points_table(report)) is not None:
        out.print(swept)
    for line, drawn in profile_tables(report):
        out.print(Text(line, style="bold"))
        out.print(drawn)
    method = report.method
    ways = f", {' and '.join(method.batchings)}" if method.batchings else ""
    out.print(Text(f"{method.workload}; batch {method.batch_size}{ways}, {method.rounds} rounds, {method.provider}"))
    for note in report.notes:
        out.print(Text(f"note: {note}", style="dim"))
    for worse in report.regressions or ():
        out.print(Text(f"worse: {worse['sentence']}", style="red"))
    if report.regressions is not None and not report.regressions:
        out.print(Text("nothing is worse than it was", style="green"))
    out.print(Text(f"wrote {', '.join(str(path) for path in report.files)}"), soft_wrap=True)

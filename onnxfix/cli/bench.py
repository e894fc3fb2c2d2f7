"""`onnxfix bench`: compare ONNX files with torch and each other in latency, memory, size and task metrics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from . import console
from .bench_options import options
from .output import emit_json

if TYPE_CHECKING:
    from onnxfix.eval.bench.bench import BenchReport
    from onnxfix.eval.inputs.point import Point
    from onnxfix.flows.bench.named import Setup


@click.command("bench", short_help="Compare models with torch in latency, memory, size and task metrics.")
@click.argument("models", nargs=-1, metavar="[MODEL]...", type=click.Path(path_type=Path))
@options
def command(models: tuple[Path, ...], **given: Any) -> int:
    """Compare each MODEL with torch fp32 and bf16 (default: model.onnx here and the files onnxfix made from it).

    --sweep makes the files itself, from the checkpoint named or the bundled one: 'seed' are torch and the conversions
    of the report that gave up on ONNX, 'repaired' what onnxfix makes of each export, 'all' every row there is. What
    cannot be made or run is a row with its reason.

    The checkpoint is found in what `onnxfix export` recorded in the file. Without --data, rows are made up and there
    are no F1 columns; a model of the bundled demo brings its own labelled rows. Writes summary.json, results.parquet,
    REPORT.md and report.html. Exit code 1 when no model could be measured, and with --baseline when anything is worse
    than it was beyond the tolerance.
    """
    from onnxfix.eval.report.files import write_report
    from onnxfix.flows.bench.data import Wanted
    from onnxfix.flows.bench.setup import setup

    provider = _provider(given["provider"])
    wanted = Wanted(models, provider=provider, **{k: v for k, v in given.items() if k in Wanted.ASKED})
    _check(given, provider)
    found = setup(wanted, console.progress)
    report = _run(found, provider, given)
    if given["profile"]:
        # what has been measured must not be lost to what follows
        write_report(report, given["output"])
        report = replace(report, profiles=_profiles(found, report, provider, given["threads"]))
    if given["baseline"] is not None:
        from onnxfix.eval.report.regression import regressions

        worse = regressions(report, given["baseline"], given["tolerance"] / 100)
        report = replace(report, regressions=[each.as_dict() for each in worse])
    paths = write_report(report, given["output"], _page(report))
    if given["form"] == "json":
        emit_json(report.as_dict())
    else:
        _show(report, paths)
    return 0 if any(row.measured for row in report.rows) and not report.regressions else 1


def _check(given: dict[str, Any], provider: str) -> None:
    """What can be wrong with options is said before hours of work. Raises OnnxfixError."""
    from onnxfix.eval.bench.quality import find_metric
    from onnxfix.eval.report.regression import check_alike, read

    if given["metric"]:
        find_metric(given["metric"])
    if given["baseline"] is not None:
        check_alike(read(given["baseline"]), provider, given["baseline"])


def _run(found: Setup, provider: Literal["cpu", "cuda"], given: dict[str, Any]) -> BenchReport:
    from onnxfix.eval.bench.bench import run_bench, step_count
    from onnxfix.eval.bench.quality import find_metric

    metric = find_metric(given["metric"]) if given["metric"] else None
    points, rounds = _points(given), given["rounds"]
    with console.progress("bench", step_count(found.variants, found.workload, rounds=rounds, points=points)) as advance:
        report = run_bench(
            found.variants,
            found.workload,
            points=points,
            rounds=rounds,
            provider=provider,
            threads=given["threads"],
            baseline=given["ratio_to"],
            at_once=given["at_once"],
            metric=metric,
            opinions=found.opinions,
            notes=found.notes,
            folder=given["output"],
            resume=given["resume"],
            progress=advance,
        )
    return replace(report, diagnoses=found.diagnoses)


def _page(report: BenchReport) -> str:
    from onnxfix.diagnose.registry import all_rules
    from onnxfix.eval.report.markdown import method
    from onnxfix.eval.report.page import page

    try:
        return page(report.as_dict(), method(report), all_rules())
    except Exception as error:  # hours of measurements must not be lost to a plot
        console.err().print(f"report.html could not be drawn: {type(error).__name__}: {error}", markup=False)
        return ""


def _profiles(
    found: Setup, report: BenchReport, provider: Literal["cpu", "cuda"], threads: int
) -> dict[str, dict[str, Any]]:
    from onnxfix.eval.bench.profiling import profiles

    sound = {row.variant for row in report.rows if row.measured}
    variants = [variant for variant in found.variants if variant.name in sound]
    with console.progress("profile", len(variants)) as advance:
        main = report.method.points[0]
        return profiles(variants, found.workload, main, provider=provider, threads=threads, progress=advance)


def _points(given: dict[str, Any]) -> tuple[Point, ...]:
    from onnxfix.eval.inputs.point import grid

    return grid(given["batch"], given["seq"])


def _provider(name: str) -> Literal["cpu", "cuda"]:
    from onnxfix.eval.run.machine import has_cuda

    if name == "auto":
        return "cuda" if has_cuda() else "cpu"
    return cast(Literal["cpu", "cuda"], name)


def _show(report: BenchReport, paths: list[Path]) -> None:
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
    out.print(Text(f"{method.workload}; batch {method.batch_size}, {method.rounds} rounds, {method.provider}"))
    for note in report.notes:
        out.print(Text(f"note: {note}", style="dim"))
    for worse in report.regressions or ():
        out.print(Text(f"worse: {worse['sentence']}", style="red"))
    if report.regressions is not None and not report.regressions:
        out.print(Text("nothing is worse than it was", style="green"))
    out.print(Text(f"wrote {', '.join(str(path) for path in paths)}"), soft_wrap=True)

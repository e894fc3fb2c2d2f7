"""`onnxfix bench`: compare ONNX files with torch and each other in latency, memory, size and task metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from . import console
from .output import emit_json

if TYPE_CHECKING:
    from onnxfix.eval.bench import BenchReport

    from .bench_setup import Setup


@click.command("bench", short_help="Compare models with torch in latency, memory, size and task metrics.")
@click.argument("models", nargs=-1, metavar="[MODEL]...", type=click.Path(path_type=Path))
@click.option("--checkpoint", type=click.Path(path_type=Path), metavar="DIR", help="Default: what the file records.")
@click.option("--factory", default="", metavar="MODULE:FUNCTION", help="Function that returns the torch module.")
@click.option("--data", type=click.Path(path_type=Path), metavar="FILE", help="Texts: .parquet, .csv, .tsv or .jsonl.")
@click.option("--text", default="text", show_default=True, metavar="COLUMN", help="Column of the texts.")
@click.option("--label", "labels", multiple=True, metavar="HEAD=COLUMN", help="Labels of an output; repeatable.")
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Rows a batch.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Timed rounds.")
@click.option("--limit", type=click.IntRange(min=1), metavar="ROWS", help="Use the first rows only.")
@click.option("--bucket", is_flag=True, help="Sort rows by length first: less padding, as a batching server would.")
@click.option("--max-length", type=click.IntRange(min=8), metavar="TOKENS", help="Default: the tokenizer's, max. 512.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="CPU threads. Default: each runtime's choice.")
@click.option("--provider", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--no-torch", is_flag=True, help="Compare the ONNX files with each other only.")
@click.option(
    "--torchao/--no-torchao",
    default=None,
    help="Torch with int8 linears by torchao as well. Default: where it is installed.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default="bench", show_default=True, help="Folder of the report."
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    models: tuple[Path, ...],
    checkpoint: Path | None,
    factory: str,
    data: Path | None,
    text: str,
    labels: tuple[str, ...],
    batch: int,
    rounds: int,
    limit: int | None,
    bucket: bool,
    max_length: int | None,
    threads: int,
    provider: str,
    no_torch: bool,
    torchao: bool | None,
    output: Path,
    form: str,
) -> int:
    """Compare each MODEL with torch fp32 and bf16 (default: model.onnx here and the files onnxfix made from it).

    With torchao installed, also with torch whose linears it made int8.

    The checkpoint is found in what `onnxfix export` recorded in the file. Without --data, rows are made up and there
    are no F1 columns; a model of the bundled demo brings its own labelled rows. Writes summary.json, results.parquet
    and REPORT.md. Exit code 1 when no model could be measured.
    """
    from onnxfix.eval.bench_report import write_report

    from .bench_data import Wanted
    from .bench_setup import setup

    wanted = Wanted(models, checkpoint, factory, data, text, labels, limit, max_length, no_torch, bucket, torchao)
    report = _run(setup(wanted), rounds, batch, _provider(provider), threads)
    paths = write_report(report, output)
    if form == "json":
        emit_json(report.as_dict())
    else:
        _show(report, paths)
    return 0 if any(row.measured for row in report.rows) else 1


def _run(found: Setup, rounds: int, batch: int, provider: Literal["cpu", "cuda"], threads: int) -> BenchReport:
    from onnxfix.eval.bench import run_bench, step_count

    steps = step_count(found.variants, found.workload, rounds=rounds, batch_size=batch)
    with console.progress("bench", steps) as advance:
        return run_bench(
            found.variants,
            found.workload,
            rounds=rounds,
            batch_size=batch,
            provider=provider,
            threads=threads,
            notes=found.notes,
            progress=advance,
        )


def _provider(name: str) -> Literal["cpu", "cuda"]:
    from onnxfix.eval.machine import has_cuda

    if name == "auto":
        return "cuda" if has_cuda() else "cpu"
    return cast(Literal["cpu", "cuda"], name)


def _show(report: BenchReport, paths: list[Path]) -> None:
    from rich.text import Text

    from onnxfix.eval.bench_report import table

    out = console.out()
    out.print(table(report))
    method = report.method
    out.print(Text(f"{method.workload}; batch {method.batch_size}, {method.rounds} rounds, {method.provider}"))
    for note in report.notes:
        out.print(Text(f"note: {note}", style="dim"))
    out.print(Text(f"wrote {', '.join(str(path) for path in paths)}"), soft_wrap=True)

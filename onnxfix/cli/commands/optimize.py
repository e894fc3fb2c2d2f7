"""`onnxfix optimize`: write a model anew so that it costs what its real tokens cost, verified against the source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxfix.cli import console, options
from onnxfix.cli.output import check_destination, emit_json, json_text, write_report
from onnxfix.flows.repair.fastest.names import NAMES

from .repair import show


@click.command("optimize", short_help="Write a model anew to be as fast as its target allows, and verify the result.")
@click.argument("model", type=options.file)
@click.option(
    "-o", "--output", type=options.file, help="Default: MODEL.fastest.onnx, MODEL.fastest-int8-dynamic.onnx and so on."
)
@click.option("--target", type=options.target, help="Default: cpu.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16"]),
    help="Default: fp32 on a CPU and with --int8, else fp16.",
)
@click.option("--int8", type=click.Choice(["dynamic", "static", "weight-only"]), help="Quantize the linears, too.")
@click.option(
    "--recipe", type=click.Choice(NAMES), default="fastest", show_default=True, help="How much is written anew."
)
@options.max_seq
@options.packed_inputs
@click.option("--measure", is_flag=True, help="Time each part of the recipe on this machine, and keep the fastest.")
@click.option("--max-error", type=click.FloatRange(0), help="Largest error that is still written, by --metric.")
@options.metric
@click.option("--feeds", type=options.file, metavar="FILE.npz", help="Inputs to verify on.")
@click.option(
    "--calibrate", type=options.file, metavar="FILE", help="Real inputs (.npz, or a table of texts): ranges, and times."
)
@options.real_inputs
@options.layout
@click.option("--report", "report_file", type=options.file, help="Write the JSON report to a file.")
@click.option("--force", is_flag=True, help="Replace an existing file that is no earlier result of repair.")
@click.option("--dry-run", is_flag=True, help="Do everything but write the model.")
@options.timeout
@options.libraries
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(model: Path, form: str, report_file: Path | None, **given: Any) -> int:
    """Write MODEL anew: attention in one operator, padding left out, local attention in blocks. What is not done says
    why; the result is verified against the source and written beside it."""
    from onnxfix.flows.repair.fastest.asked import optimize

    if report_file:
        check_destination(report_file, (".json",), {"model": model, **given}, keyword="report", force=given["force"])
    with console.progress("optimize") as advance:
        result = optimize(model, **given, progress=advance)
    if report_file:
        write_report(report_file, json_text(result.as_dict()), ())
    if form == "json":
        emit_json(result.as_dict())
    else:
        show(result)
    return 1 if result.after.fails("error") else 0

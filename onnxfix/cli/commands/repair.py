"""`onnxfix repair`: change a model, verify the result against the original, then write it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxfix.cli import console, options, voice
from onnxfix.cli.output import check_destination, emit_json, json_text, write_report

if TYPE_CHECKING:
    from onnxfix.flows.repair.repaired import Repaired


def _positive(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Refuses what no error can be compared with: NaN and negative numbers."""
    if value is not None and not value >= 0:
        raise click.BadParameter(f"{value} is not a number of 0 or more", context, parameter)
    return value


@click.command("repair", short_help="Repair a model, convert its precision or quantize it, and verify the result.")
@click.argument("model", type=options.file, required=False)
@click.option(
    "-o",
    "--output",
    type=options.file,
    help="Default: MODEL.fp16.onnx, MODEL.int8-dynamic.onnx, MODEL.w4.onnx and the like.",
)
@click.option(
    "--target",
    type=options.target,
    help="Default: cuda; cpu with --int8 dynamic or static.",
)
@options.conversion
@options.quantization
@click.option(
    "--max-error",
    type=float,
    callback=_positive,
    help="Largest relative L2 error that is still written; of --int8, by --metric.",
)
@click.option("--feeds", type=options.file, metavar="FILE.npz", help="Inputs to verify on.")
@click.option(
    "--input", multiple=True, metavar="NAME=SHAPE", help="Shape of an input that is made up, as in ids=1x128."
)
@click.option(
    "--verify-budget",
    type=float,
    callback=_positive,
    metavar="GB",
    help="Memory for activations of made-up inputs, which are shortened for it; default: what the machine allows.",
)
@click.option(
    "--calibrate",
    type=options.file,
    metavar="FILE",
    help="Real inputs (.npz, or a table of texts): for ranges of --int8, and to keep what half precision harms.",
)
@options.scripts
@options.search
@options.metric
@options.real_inputs
@options.layout
@options.without("--no-verify", "verify", "Write without running the result; it says 'unverified' then.")
@click.option("--report", "report_file", type=options.file, help="Write the JSON report to a file.")
@click.option("--force", is_flag=True, help="Replace an existing file that is no earlier result of repair.")
@click.option("--dry-run", is_flag=True, help="Do everything but write the model.")
@click.option("--diff", "show_diff", is_flag=True, help="List every change to the graph.")
@options.timeout
@options.libraries
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(model: Path | None, form: str, report_file: Path | None, show_diff: bool, **given: Any) -> int:
    """Repair MODEL (default: model.onnx here), verify the result against it, and write it beside the original."""
    from onnxfix.flows.repair.asked import repair

    if report_file:
        read = {"model": model or Path("model.onnx"), **given}
        check_destination(report_file, (".json",), read, keyword="report", force=given["force"])
    with console.progress("repair") as advance:
        result = repair(model or Path("model.onnx"), **given, progress=advance)
    document = result.as_dict()
    if show_diff:
        document["diff"] = [c.as_dict() for c in result.outcome.changes]
    if report_file:
        write_report(report_file, json_text(document), ())
    if form == "json":
        emit_json(document)
    else:
        show(result, show_diff)
    return 1 if result.after.fails("error") else 0


def show(result: Repaired, show_diff: bool = False) -> None:
    """What a repair did, in words and a table."""
    from rich.markup import escape
    from rich.table import Table

    from onnxfix.nouns.errors import spoken
    from onnxfix.render.words import plural, quantity

    out = console.out()
    if show_diff:
        for change in result.outcome.changes:
            out.print(f"[dim]{change.pass_name}[/] {escape(str(change))}", soft_wrap=True)
        out.print()
    name = str(result.output) if result.output else f"{result.source} (dry run: nothing written)"
    sizes = f"{quantity(result.source_bytes)} → {'' if result.output else 'about '}{quantity(result.result_bytes)}"
    if result.due_bytes is not None and result.kind != "fp32":
        sizes += f" ({quantity(result.due_bytes)} due)"
    out.print(f"[bold]{escape(name)}[/]  {sizes}, for {result.before.target['provider']}")
    for step, count in Counter(c.pass_name for c in result.outcome.changes).items():
        out.print(f"  {step}: {plural(count, 'change')}")
    for note in result.outcome.notes:
        out.print(f"  {escape(spoken(note, voice.option))}", style="dim")
    table = Table("finding", "before", "after", box=None, padding=(0, 2), header_style="bold")
    for found, before, after in result.findings():
        table.add_row(found, str(before), str(after))
    table.add_row("linears quantized", *result.linears())
    out.print(table)
    for finding in result.after.findings:
        if finding.severity == "error":
            out.print(f"{finding.code} {finding.name}: {finding.message}", markup=False, soft_wrap=True)
    style = "" if result.comparisons else "yellow"
    said = f"verified: {result.verified}" if result.comparisons else f"{result.verified}: the result was not run"
    out.print(said, style=style, markup=False, soft_wrap=True)

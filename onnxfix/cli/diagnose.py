"""`onnxfix diagnose`: what is wrong with a model on a target, as text or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import console
from .output import emit_json, megabytes

if TYPE_CHECKING:
    from rich.console import Console

    from onnxfix.finding import Finding
    from onnxfix.report import Report

STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
SHOWN = 5
"""Sites listed under one finding code in text output; --format json has all."""


@click.command("diagnose", short_help="Say why a model is slow, wrong or not really quantized.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", type=click.Choice(["cuda", "cpu", "tensorrt", "openvino"]), default="cuda", show_default=True)
@click.option("--engine", type=click.Choice(["auto", "forecast", "measured"]), default="auto", show_default=True)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--fail-on", type=click.Choice(["error", "warning", "note", "never"]), default="error", show_default=True,
    help="Lowest severity that makes the exit code 1.",
)  # fmt: skip
@click.option("--custom-op-library", "libraries", multiple=True, type=click.Path(path_type=Path), metavar="FILE.so")
def command(model: Path, target: str, engine: str, form: str, fail_on: str, libraries: tuple[Path, ...]) -> int:
    """Say why MODEL is slow, wrong or not really quantized on a target, without running it and without a GPU."""
    from onnxfix.diagnose.run import diagnose
    from onnxfix.model import Model
    from onnxfix.target import Target

    with console.progress("diagnose") as advance:
        opened = Model.open(model, libraries)
        report = diagnose(opened, Target.resolve(target, engine), advance)
    if form == "json":
        emit_json(report.as_dict())
    else:
        show(report, console.out())
    return 1 if report.fails(fail_on) else 0


def show(report: Report, out: Console) -> None:
    """The report for people: model, placement, quantization, findings by code, what to do next."""
    model, plan = report.model, report.plan
    size = megabytes(int(str(model["weights_bytes"])))
    out.print(f"[bold]{model['path']}[/]  {model['nodes']:,} nodes, opset {model['opset']}, {size} of weights")
    providers = ", ".join(
        f"{count:,} on {name.removesuffix('ExecutionProvider')}" for name, count in plan.providers().items()
    )
    engine = f"{report.target['engine']} for ONNX Runtime {report.target['onnxruntime']}"
    out.print(f"placement on {report.target['provider']} ({engine}): {providers or 'unknown'}", end="")
    out.print(f", [bold]{len(plan.copies)}[/] Memcpy" if plan.nodes else "")
    if plan.note:
        out.print(f"[dim]{plan.note}[/]")
    linears, quantized = report.quantization["linears"], report.quantization["quantized"]
    out.print(f"linears: {linears}, quantized: {quantized}")
    groups: dict[str, list[Finding]] = {}
    for finding in report.findings:
        groups.setdefault(f"{finding.code}{finding.severity}", []).append(finding)
    for found in groups.values():
        _show_group(found, out)
    counts = report.summary()
    out.print()
    out.print(", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items()))


def _show_group(found: list[Finding], out: Console) -> None:
    from rich.markup import escape

    first = found[0]
    times = f" × {len(found)}" if len(found) > 1 else ""
    style = STYLES[first.severity.value]
    out.print()
    out.print(f"[{style}]{first.severity.value}[/] [bold]{first.code} {first.name}[/]{times}")
    for finding in found[:SHOWN]:
        if str(finding.site):
            out.print(f"  {escape(str(finding.site))}", style="cyan", soft_wrap=True)
        if finding is first or finding.message != first.message:
            out.print(f"    {escape(finding.message)}", soft_wrap=True)
    if len(found) > SHOWN:
        out.print(f"  … and {len(found) - SHOWN} more (--format json lists all)", style="dim")
    if first.repair:
        out.print(f"  repair ({first.applicability.value}): {escape(first.repair)}", style="green", soft_wrap=True)

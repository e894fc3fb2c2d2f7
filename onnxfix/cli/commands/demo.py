"""`onnxfix demo`: the sweeps `seed` and `repaired` of `onnxfix bench` on the bundled model, before beside after."""

from __future__ import annotations

import json
from pathlib import Path

import click

from onnxfix.cli import console
from onnxfix.cli.options import file

from . import bench

SETTINGS = {"sweep": ("seed", "repaired"), "rounds": 3, "batch": (16,), "bucket": True, "torchao": False}


@click.command("demo", short_help="Do all of it on the bundled two-head ModernBERT and print one table.")
@click.option("-o", "--output", type=file, default="onnxfix-demo", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), metavar="ROWS", help="Rows of the holdout to bench on.")
@click.option("--force", is_flag=True, help="Replace files in that folder that no bench made.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def command(context: click.Context, output: Path, limit: int | None, force: bool, form: str) -> int:
    """Export the bundled two-head ModernBERT three ways, convert and repair each, bench all, and print one table.

    The rows before are what a published report tried, those after what onnxfix repair makes of each export. Exit code 1
    when one of these could not be measured.
    """
    given = {"output": output, "limit": limit, "force": force, "form": form, "provider": "cpu", **SETTINGS}
    status: int = context.invoke(bench.command, **given)
    if form == "text":
        console.out().print(f"next: onnxfix diagnose {output}/models/unoptimized.onnx", markup=False, soft_wrap=True)
    rows = json.loads((output / "summary.json").read_text(encoding="utf-8"))["rows"]
    return max(status, *(int(bool(row["failure"])) for row in rows if row["exporter"].endswith("onnxfix")))

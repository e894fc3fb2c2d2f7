"""onnxfix export: a torch or transformers checkpoint to ONNX, verified against torch before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from . import console

if TYPE_CHECKING:
    from onnxfix.export.spec import Attention, ExportResult, ExportSpec

SCHEMA = "onnxfix.export/1"


@click.command()
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", default="model.onnx", show_default=True, type=click.Path(path_type=Path), help="File to write."
)
@click.option(
    "--exporter",
    type=click.Choice(["auto", "dynamo", "legacy"]),
    default="auto",
    show_default=True,
    help="auto: dynamo, and legacy where dynamo fails or disagrees with torch.",
)
@click.option("--no-optimize", is_flag=True, help="Leave the dynamo exporter's own optimizer off.")
@click.option("--opset", type=int, default=18, show_default=True, help="ONNX operator set.")
@click.option(
    "--attn", type=click.Choice(["eager", "sdpa"]), help="Attention implementation; transformers' by default."
)
@click.option(
    "--factory",
    default="",
    metavar="MODULE:FUNCTION",
    help="Function returning a torch module or (module, example kwargs); gets CHECKPOINT if it takes an argument.",
)
@click.option("--no-verify", is_flag=True, help="Do not compare with torch.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    checkpoint: Path | None,
    attn: str | None,
    no_optimize: bool,
    no_verify: bool,
    force: bool,
    form: str,
    **options: Any,
) -> int:
    """Export CHECKPOINT, a local folder in transformers' format, and verify the result against torch.

    The export has dynamic axes `batch` and `sequence` and is compared with torch on an unpadded, a padded and a
    512-token batch; when they disagree nothing is written.
    """
    from onnxfix.export.run import export
    from onnxfix.export.spec import ExportSpec

    spec = ExportSpec(
        checkpoint=checkpoint,
        optimize=not no_optimize,
        attn=cast("Attention", attn or ""),
        verify=not no_verify,
        overwrite=force,
        **options,
    )
    with console.progress("export") as advance:
        result = export(spec, advance)
    if form == "json":
        click.echo(json.dumps({"schema": SCHEMA, "source": _source(spec), **result.as_dict()}, indent=2))
    else:
        _print(spec, result)
    return 0


def _source(spec: ExportSpec) -> str:
    return spec.factory or str(spec.checkpoint)


def _print(spec: ExportSpec, result: ExportResult) -> None:
    from rich.table import Table
    from rich.text import Text

    # Text throughout: a path such as out[1] is no markup
    rows = [
        ("exported", f"{_source(spec)} to {result.path}"),
        ("exporter", f"{result.exporter}, opset {result.opset}, {result.nodes:,} nodes"),
        ("interface", f"{', '.join(result.inputs)} → {', '.join(result.outputs)}"),
        *(("note", note) for note in result.notes),
        ("verified", _verified(result)),
        ("size", f"{result.file_bytes / 1e6:,.1f} MB"),
        ("next", f"onnxfix diagnose {result.path}"),
    ]
    table = Table.grid(padding=(0, 2))
    for label, text in rows:
        table.add_row(Text(label, style="bold"), Text(text, overflow="fold"))
    console.out().print(table)


def _verified(result: ExportResult) -> str:
    if result.comparison is None:
        return "no (--no-verify)"
    feeds = list(dict.fromkeys(d.feed for d in result.comparison.differences))
    figure = f"relative L2 error {result.comparison.rel_l2:.1e}"
    return f"against torch on {len(feeds)} batches ({', '.join(feeds)}): {figure}"

"""onnxfix export: a torch or transformers checkpoint to ONNX, verified against torch before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxfix.cli import console, options, voice
from onnxfix.cli.output import emit_json

if TYPE_CHECKING:
    from onnxfix.flows.export import Exported


@click.command()
@click.argument("checkpoint", required=False, type=options.file)
@click.option(
    "-o",
    "--output",
    default="model.onnx",
    show_default=True,
    type=options.file,
    help="File to write; with --layout the folder.",
)
@click.option("--revision", default="", metavar="NAME", help="Branch, tag or commit of a checkpoint on the Hub.")
@options.layout
@click.option(
    "--exporter",
    type=click.Choice(["auto", "dynamo", "legacy"]),
    default="auto",
    show_default=True,
    help="auto: dynamo, and legacy where dynamo fails or disagrees with torch.",
)
@options.without("--no-optimize", "optimize", "Leave the dynamo exporter's own optimizer off.")
@click.option("--opset", type=int, default=18, show_default=True, help="ONNX operator set.")
@click.option(
    "--attn", type=click.Choice(["eager", "sdpa"]), help="Attention implementation; transformers' by default."
)
@click.option(
    "--task",
    type=click.Choice(["text-generation-with-past"]),
    help="A causal language model with its cache of keys and values; without it, what the checkpoint's class returns.",
)
@click.option(
    "--factory",
    default="",
    metavar="MODULE:FUNCTION",
    help="Function returning a torch module or (module, example kwargs); gets CHECKPOINT if it takes an argument.",
)
@options.without("--no-verify", "verify", "Do not compare with torch.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(checkpoint: Path | None, form: str, **given: Any) -> int:
    """Export CHECKPOINT, a folder in transformers' format or one on the Hub (ORG/NAME), and verify the result against
    torch.

    The export has dynamic axes `batch` and `sequence` and is compared with torch on an unpadded, a padded and a
    long batch (1,024 tokens, or what the model takes), with a cache also on a prompt and on the tokens behind it; when
    they disagree nothing is written.
    """
    from onnxfix.flows.export import export

    with console.progress("export") as advance:
        result = export(checkpoint, **given, progress=advance)
    if form == "json":
        emit_json(result.as_dict())
    else:
        _show(result)
    return 0


def _show(result: Exported) -> None:
    from rich.table import Table
    from rich.text import Text

    from onnxfix.nouns.errors import spoken

    table = Table.grid(padding=(0, 2))
    for label, text in result.lines():  # Text throughout: a path such as out[1] is no markup
        table.add_row(Text(label, style="bold"), Text(spoken(text, voice.option), overflow="fold"))
    console.out().print(table)

"""`onnxfix extract`: a part of a model as a file that runs alone, with its inputs recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxfix.cli import console, options
from onnxfix.cli.output import emit_json


@click.command("extract", short_help="Cut a part out of a model, with the inputs it had inside it.")
@click.argument("model", type=options.file)
@click.option("-o", "--output", required=True, type=options.file, metavar="PART.onnx")
@click.option("--scope", default="", metavar="PATTERN", help="Torch modules, as in 'model.layers.3.*'.")
@click.option("--inputs", default="", metavar="NAME,...", help="Values that the part begins at.")
@click.option("--outputs", default="", metavar="NAME,...", help="Values that it ends at; default: the model's.")
@click.option("--feeds", type=options.file, metavar="FILE.npz", help="Inputs of MODEL to record on.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@options.timeout
@options.libraries
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(model: Path, inputs: str, outputs: str, form: str, **given: Any) -> int:
    """Cut a part out of MODEL that runs alone and answers bit for bit as inside it, and record its inputs in PART.npz.

    The model runs once on given or made-up inputs. PART.npz holds what the part read then, for --feeds, and what it
    answered, under 'expected:'.
    """
    from onnxfix.flows.extract import extract

    result = extract(model, inputs=_names(inputs), outputs=_names(outputs), **given)
    if form == "json":
        emit_json(result.as_dict())
    else:
        out = console.out()
        out.print(f"{result.output}  {result.nodes:,} nodes of {result.source}", markup=False, soft_wrap=True)
        out.print(f"  {', '.join(result.inputs)} → {', '.join(result.outputs)}", markup=False, soft_wrap=True)
        out.print(f"recorded: {result.feeds}; answers bit for bit as inside the model", markup=False, soft_wrap=True)
    return 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())

"""`onnxfix diagnose`: what is wrong with a model on a target, as text, a page, a comment, SARIF or JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import console, options
from .output import check_destination, json_text, write_report

if TYPE_CHECKING:
    from onnxfix.nouns.layer_noise import Against
    from onnxfix.nouns.model import Model
    from onnxfix.nouns.report import Report

Progress = Callable[[str], None]
ROWS = 128
"""Texts of a table that --against looks at."""

ENDINGS = {
    "text": (".txt", ".log"),
    "html": (".html", ".htm"),
    "markdown": (".md", ".markdown", ".txt"),
    "sarif": (".sarif", ".json"),
    "json": (".json",),
}

SIZE = click.IntRange(1, 1_000_000)


@click.command("diagnose", short_help="Say why a model is slow, wrong or not really quantized.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", type=options.target, default="cuda", show_default=True)
@click.option("--engine", type=click.Choice(["auto", "forecast", "measured"]), default="auto", show_default=True)
@click.option("--batch", type=SIZE, default=64, show_default=True, help="Rows that bytes are for.")
@click.option("--seq", type=SIZE, default=512, show_default=True, help="Tokens of a row.")
@click.option(
    "--format", "form", type=click.Choice(list(ENDINGS)), default="text", show_default=True,
    help="html: a page with the placement drawn; markdown: a pull request comment; sarif: code scanning.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
    help="Write to a file, '-' for stdout. Default: stdout; for html, MODEL.html in the current folder.",
)  # fmt: skip
@click.option(
    "--fail-on", type=click.Choice(["error", "warning", "note", "never"]), default="error", show_default=True,
    help="Lowest severity that makes the exit code 1.",
)  # fmt: skip
@click.option(
    "--against", type=click.Path(path_type=Path), metavar="FLOAT.onnx",
    help="The float model that MODEL was quantized from: run both, and say which layers lose what, and why.",
)  # fmt: skip
@click.option(
    "--calibrate", "inputs", type=click.Path(path_type=Path), metavar="FILE",
    help="Real inputs for --against (.npz, or a table of texts). Default: made-up ones.",
)  # fmt: skip
@options.real_inputs
@options.libraries
def command(
    model: Path, target: str, engine: str, batch: int, seq: int, form: str, output: Path | None, fail_on: str,
    against: Path | None, inputs: Path | None, text: str, checkpoint: Path | None, libraries: tuple[Path, ...],
) -> int:  # fmt: skip
    """Say why MODEL is slow, wrong or not really quantized on a target, without a GPU and, but for --against, without
    running it."""
    from onnxfix.diagnose.placement.optimised import compiler

    compiler.shared().start()  # its imports run beside ours and beside reading the model
    from onnxfix.diagnose.run import diagnose
    from onnxfix.nouns.model import Model
    from onnxfix.nouns.plan import Sizes
    from onnxfix.nouns.target import Target

    destination = _destination(model, form, output)
    with console.progress("diagnose") as advance:
        where = Target.resolve(target, engine)
        opened = Model.open(model, libraries)
        measured = _measured(opened, against, inputs, text, checkpoint, advance)
        report = diagnose(opened, where, advance, Sizes(batch, seq), against=measured)
    if destination is not None:
        write_report(destination, _RENDERERS[form](report), (model, *opened.external_files, *libraries))
        click.echo(str(destination))
    elif form == "text":
        from onnxfix.diagnose.report import text as in_text

        in_text.show(report, console.out())
    else:
        click.echo(_RENDERERS[form](report).rstrip("\n"))
    return 1 if report.fails(fail_on) else 0


def _measured(
    quantized: Model, against: Path | None, inputs: Path | None, column: str, checkpoint: Path | None, advance: Progress
) -> Against | None:
    """What running it beside its float original shows; None where that was not asked for."""
    from onnxfix.eval.inputs.feeds import make_feeds
    from onnxfix.flows.against.against import against as held_against
    from onnxfix.flows.inputs import feeds_of
    from onnxfix.nouns.errors import OnnxfixError
    from onnxfix.nouns.model import Model

    if against is None:
        if inputs is not None:
            raise OnnxfixError("--calibrate needs --against", "name the float model that this one was made from")
        return None
    libraries = quantized.custom_op_libraries
    reference = Model.open(against, libraries)
    advance("inputs")
    feeds = (
        feeds_of(inputs, against, libraries=libraries, checkpoint=checkpoint, text=column, rows=ROWS)
        if inputs is not None
        else make_feeds(reference)
    )
    return held_against(reference, quantized, feeds, advance)


def _destination(model: Path, form: str, output: Path | None) -> Path | None:
    """The file to write, None for stdout. A page is for a browser, so it becomes a file by itself."""
    if output is None and form == "html":
        output = Path(f"{model.stem}.html")
    if output is None or str(output) == "-":
        return None
    check_destination(output, ENDINGS[form])
    return output


def _text(report: Report) -> str:
    import io

    from onnxfix.diagnose.report import text

    stream = io.StringIO()
    text.show(report, console.out(stream))
    return stream.getvalue()


def _html(report: Report) -> str:
    from onnxfix.diagnose.registry import all_rules
    from onnxfix.diagnose.report import html

    return html.page(report, all_rules())


def _markdown(report: Report) -> str:
    from onnxfix.diagnose.report import markdown

    return markdown.comment(report)


def _sarif(report: Report) -> str:
    from onnxfix import __version__
    from onnxfix.diagnose.registry import all_rules
    from onnxfix.diagnose.report import sarif

    return json_text(sarif.document(report, all_rules(), __version__, Path.cwd()))


def _json(report: Report) -> str:
    return json_text(report.as_dict())


_RENDERERS: dict[str, Callable[[Report], str]] = {
    "text": _text,
    "html": _html,
    "markdown": _markdown,
    "sarif": _sarif,
    "json": _json,
}

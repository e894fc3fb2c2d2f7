"""`onnxfix diagnose`: what is wrong with a model on a target, as text, a page, a comment, SARIF or JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import console, options
from .output import check_destination, write_report

if TYPE_CHECKING:
    from onnxfix.flows.diagnose import Diagnosis

ENDINGS = {
    "text": (".txt", ".log"),
    "html": (".html", ".htm"),
    "markdown": (".md", ".markdown", ".txt"),
    "sarif": (".sarif", ".json"),
    "json": (".json",),
}

SIZE = click.IntRange(1, 1_000_000)


@click.command("diagnose", short_help="Say why a model is slow, wrong or not really quantized.")
@click.argument("model", type=options.file)
@click.option("--target", type=options.target, help="Default: what repair made MODEL for, else cuda.")
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
@click.option("--force", is_flag=True, help="Replace an existing file that is no report of onnxfix.")
@click.option(
    "--fail-on", type=click.Choice(["error", "warning", "note", "never"]), default="error", show_default=True,
    help="Lowest severity that makes the exit code 1.",
)  # fmt: skip
@click.option(
    "--against", type=options.file, metavar="FLOAT.onnx",
    help="The float model that MODEL was quantized from: run both, and say which layers lose what, and why.",
)  # fmt: skip
@click.option(
    "--calibrate", type=options.file, metavar="FILE",
    help="Real inputs for --against (.npz, or a table of texts). Default: made-up ones.",
)  # fmt: skip
@options.real_inputs
@options.timeout
@options.libraries
def command(model: Path, form: str, output: Path | None, force: bool, fail_on: str, **given: Any) -> int:
    """Say why MODEL is slow, wrong or not really quantized on a target, without a GPU and, but for --against, without
    running it."""
    from onnxfix.flows.diagnose import diagnose

    destination = _destination(form, output, force, {"model": model, **given})
    with console.progress("diagnose") as advance:
        report = diagnose(model, **given, progress=advance)
    if destination is not None:
        write_report(destination, _RENDERERS[form](report), (model, *report.files))
        console.echo(str(destination))
    elif form == "text":
        from onnxfix.diagnose.report import text as in_text

        in_text.show(report, console.out())
    else:
        console.echo(_RENDERERS[form](report).rstrip("\n"))
    return 1 if report.fails(fail_on) else 0


def _destination(form: str, output: Path | None, force: bool, read: Mapping[str, Any]) -> Path | None:
    """The file to write, None for stdout. A page is for a browser, so it becomes a file by itself."""
    if output is None and form == "html":
        output = Path(f"{read['model'].stem}.html")
    if output is None or str(output) == "-":
        return None
    check_destination(output, ENDINGS[form], read, force=force)
    return output


def _text(report: Diagnosis) -> str:
    import io

    from onnxfix.diagnose.report import text

    stream = io.StringIO()
    text.show(report, console.out(stream))
    return stream.getvalue()


_RENDERERS: dict[str, Callable[[Diagnosis], str]] = {
    "text": _text,
    "html": lambda report: report.to_html(),
    "markdown": lambda report: report.to_markdown(),
    "sarif": lambda report: report.to_sarif(),
    "json": lambda report: report.to_json(),
}

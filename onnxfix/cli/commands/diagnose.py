"""`onnxfix diagnose`: what is wrong with a model on a target, as text, a page, a comment, SARIF or JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from onnxfix.cli import console, options
from onnxfix.cli.output import check_destination, write_report

if TYPE_CHECKING:
    from onnxfix.flows.diagnosis.diagnosis import Diagnosis
    from onnxfix.flows.diagnosis.several import Diagnoses

    Found: TypeAlias = Diagnosis | Diagnoses

ENDINGS = {
    "text": (".txt", ".log"),
    "html": (".html", ".htm"),
    "markdown": (".md", ".markdown", ".txt"),
    "sarif": (".sarif", ".json"),
    "github": (".txt", ".log"),
    "json": (".json",),
}

BESIDE = {".html": "html", ".md": "markdown", ".sarif": "sarif", ".json": "json"}

SIZE = click.IntRange(1, 1_000_000)


@click.command("diagnose", short_help="Say why a model is slow, wrong or not really quantized.")
@click.argument("models", type=options.file, nargs=-1, required=True)
@click.option("--target", type=options.target, help="Default: what repair made MODEL for, else cuda.")
@click.option("--engine", type=click.Choice(["auto", "forecast", "measured"]), default="auto", show_default=True)
@click.option("--batch", type=SIZE, default=64, show_default=True, help="Rows that bytes are for.")
@click.option("--seq", type=SIZE, default=512, show_default=True, help="Tokens of a row.")
@click.option(
    "--format", "form", type=click.Choice(list(ENDINGS)), default="text", show_default=True,
    help="html: a page with the placement drawn; markdown: a pull request comment; sarif: code scanning; github: "
    "annotations in a workflow's log.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
    help="Write to a file, '-' for stdout. Default: stdout; for html, MODEL.html in the current folder.",
)  # fmt: skip
@click.option(
    "--write", type=click.Path(path_type=Path, dir_okay=False), multiple=True, metavar="FILE",
    help="A report besides, in the format of its ending: .html, .md, .sarif or .json.",
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
@options.gate
@click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True, help="Models at a time, of several.")
@options.timeout
@options.libraries
def command(
    models: tuple[Path, ...],
    form: str,
    output: Path | None,
    write: tuple[Path, ...],
    force: bool,
    fail_on: str,
    jobs: int,
    **given: Any,
) -> int:
    """Say why MODELS are slow, wrong or not really quantized on a target, without a GPU and, but for --against, without
    running them. Of a folder, every .onnx file in it and below it.

    Several make one table, one document and one exit code: 2 where one of them could not be read.
    """
    from onnxfix.flows.diagnosis.asked import diagnose
    from onnxfix.flows.diagnosis.every import diagnose_all

    destination = _destination(form, output, force, {"models": models, **given})
    for file in write:
        check_destination(file, tuple(BESIDE), {"models": models, **given}, keyword="write", force=force)
    found: Found
    with console.progress("diagnose") as advance:
        if len(models) == 1 and not models[0].is_dir():
            found = diagnose(models[0], **given, progress=advance)
        else:
            found = diagnose_all(models, jobs=jobs, **given, progress=advance)
    for file in write:
        write_report(file, _RENDERERS[BESIDE[file.suffix.lower()]](found), (*models, *found.files))
    if destination is not None:
        write_report(destination, _RENDERERS[form](found), (*models, *found.files))
        console.echo(str(destination))
    elif form == "text":
        _show(found)
    else:
        say = console.commands if form == "github" else console.echo
        say(_RENDERERS[form](found).rstrip("\n"))
    return 2 if getattr(found, "failed", ()) else int(found.fails(fail_on))


def _show(found: Found) -> None:
    from onnxfix.diagnose.report import text as in_text
    from onnxfix.nouns.report import Report
    from onnxfix.render import terminal

    if isinstance(found, Report):
        in_text.show(found, console.out())
        return
    short = found.in_short()
    console.out().print(terminal.table(short.table))
    console.echo(short.title)


def _destination(form: str, output: Path | None, force: bool, read: Mapping[str, Any]) -> Path | None:
    """The file to write, None for stdout. A page is for a browser, so it becomes a file by itself."""
    if output is None and form == "html":
        output = Path(f"{read['models'][0].stem if len(read['models']) == 1 else 'diagnoses'}.html")
    if output is None or str(output) == "-":
        return None
    check_destination(output, ENDINGS[form], read, force=force)
    return output


def _text(found: Found) -> str:
    import io

    from onnxfix.diagnose.report import text
    from onnxfix.nouns.report import Report

    if not isinstance(found, Report):
        return found.to_markdown()
    stream = io.StringIO()
    text.show(found, console.out(stream))
    return stream.getvalue()


_RENDERERS: dict[str, Callable[[Found], str]] = {
    "text": _text,
    "html": lambda found: found.to_html(),
    "markdown": lambda found: found.to_markdown(),
    "sarif": lambda found: found.to_sarif(),
    "github": lambda found: found.to_github(),
    "json": lambda found: found.to_json(),
}

"""`onnxfix diff`: what changed between two models, as text, a page, a comment or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxfix.cli import console, options
from onnxfix.cli.output import check_destination, json_text, write_report

if TYPE_CHECKING:
    from onnxfix.flows.diagnosis.difference.difference import Difference

ENDINGS = {
    "text": (".txt", ".log"),
    "html": (".html", ".htm"),
    "markdown": (".md", ".markdown", ".txt"),
    "json": (".json",),
}
SIZE = click.IntRange(1, 1_000_000)


@click.command("diff", short_help="Say what changed between two models, module by module.")
@click.argument("before", type=options.file)
@click.argument("after", type=options.file)
@click.option("--target", type=options.target, help="Also say where it runs the nodes of both, and which copies go.")
@click.option("--batch", type=SIZE, default=64, show_default=True, help="Rows that bytes of copies are for.")
@click.option("--seq", type=SIZE, default=512, show_default=True, help="Tokens of a row.")
@click.option("--all", "every", is_flag=True, help="Operators and modules that did not change, too; nothing is cut.")
@click.option(
    "--format", "form", type=click.Choice(list(ENDINGS)), default="text", show_default=True,
    help="html: a page; markdown: a pull request comment.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
    help="Write to a file, '-' for stdout. Default: stdout; for html, AFTER.diff.html in the current folder.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace an existing file that is no report of onnxfix.")
@options.timeout
@options.libraries
def command(
    before: Path, after: Path, every: bool, form: str, output: Path | None, force: bool, **given: Any
) -> int:  # fmt: skip
    """Say what changed from BEFORE to AFTER, as a repair, an exporter or a version of one made them differ: inputs and
    outputs, operators by torch module, weights by their numbers. Neither is run, and no names inside are compared.

    Exit code 0: the same graph on the same weights, whatever names, order and metadata are; 1: they differ; 2: one of
    them could not be read.
    """
    from onnxfix.flows.diagnosis.difference.asked import diff

    destination = _destination(form, output, force, before, after)
    with console.progress("diff") as advance:
        found = diff(before, after, **given, progress=advance)
    if destination is not None:
        write_report(destination, _written(found, form, every), (before, after, *found.files))
        console.echo(str(destination))
    elif form == "text":
        from onnxfix.flows.diagnosis.difference.report import text

        text.show(found, console.out(), every)
    else:
        console.echo(_written(found, form, every).rstrip("\n"))
    return 0 if found.same else 1


def _destination(form: str, output: Path | None, force: bool, before: Path, after: Path) -> Path | None:
    """The file to write, None for stdout. A page is for a browser, so it becomes a file by itself."""
    if output is None and form == "html":
        output = Path(f"{after.stem}.diff.html")
    if output is None or str(output) == "-":
        return None
    check_destination(output, ENDINGS[form], {"models": (before, after)}, force=force)
    return output


def _written(found: Difference, form: str, every: bool) -> str:
    if form == "html":
        return found.to_html(every)
    if form == "markdown":
        return found.to_markdown(every)
    return json_text(found.as_dict()) if form == "json" else _text(found, every)


def _text(found: Difference, every: bool) -> str:
    import io

    from onnxfix.flows.diagnosis.difference.report import text

    stream = io.StringIO()
    text.show(found, console.out(stream), every)
    return stream.getvalue()

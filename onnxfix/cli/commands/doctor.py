"""`onnxfix doctor`: what is installed here and what it can do, for a report of a fault."""

from __future__ import annotations

import click

from onnxfix.cli import console
from onnxfix.cli.output import emit_json


@click.command("doctor", short_help="Say what is installed here, and what it can do.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(form: str) -> int:
    """Say which versions, runtimes, providers and devices there are here. Exit code 1 where something is wrong with
    them."""
    from onnxfix.flows.doctor import doctor
    from onnxfix.render import terminal

    found = doctor()
    if form == "json":
        emit_json(found.as_dict())
    else:
        short = found.in_short()
        console.out().print(terminal.table(short.table))
        console.echo(short.title)
    return 1 if found.faults else 0

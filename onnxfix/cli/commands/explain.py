"""`onnxfix explain CODE`: the documentation that lives in each rule and pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onnxfix.cli import console

if TYPE_CHECKING:
    from rich.console import Console

    from onnxfix.flows.explain import Explanation


def _codes(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """For the shell: codes and names of rules, and names of passes."""
    from onnxfix.flows.explain import documented

    words = (word for entry in documented() for word in entry.name.split())
    return [word for word in words if word.lower().startswith(begun.lower())]


@click.command("explain", short_help="Explain a finding code or a repair pass.")
@click.argument("code", required=False, shell_complete=_codes)
def command(code: str | None) -> int:
    """Explain a finding (K001 or sequence-op-copies) or a pass (convert-to-half); without CODE list them all."""
    from onnxfix.flows.explain import documented, explain

    out = console.out()
    if code is None:
        _list(documented(), out)
        return 0
    found = explain(code)
    out.print(f"[bold]{found.name}[/]: {found.title}\n")
    out.print(found.text, markup=False, soft_wrap=True)
    return 0


def _list(entries: list[Explanation], out: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for entry in entries:
        table.add_row(Text(entry.name, style="bold", no_wrap=True), Text(entry.title))
    out.print(table)

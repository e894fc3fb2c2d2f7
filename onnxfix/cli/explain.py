"""`onnxfix explain CODE`: the documentation that lives in each rule and pass."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import click

from . import console

if TYPE_CHECKING:
    from rich.console import Console


@click.command("explain", short_help="Explain a finding code or a repair pass.")
@click.argument("code", required=False)
def command(code: str | None) -> int:
    """Explain a finding (K001 or sequence-op-copies) or a pass (convert-to-half); without CODE list them all."""
    entries = documented()
    out = console.out()
    if code is None:
        _list(entries, out)
        return 0
    wanted = code.strip().lower()
    for key, (title, text) in entries.items():
        if wanted in key.lower().split():
            out.print(f"[bold]{key}[/]: {title}\n")
            out.print(text.partition("\n")[2].strip(), markup=False, soft_wrap=True)
            return 0
    raise click.UsageError(f"no rule or pass is called '{code}'; 'onnxfix explain' lists them")


def _list(entries: dict[str, tuple[str, str]], out: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for key, (title, _) in entries.items():
        table.add_row(Text(key, style="bold", no_wrap=True), Text(title))
    out.print(table)


def documented() -> dict[str, tuple[str, str]]:
    """`CODE name` of every rule and name of every pass → first line and whole text of its docstring."""
    from onnxfix.diagnose.registry import all_rules
    from onnxfix.surgery.graph_pass import all_passes

    kinds: dict[str, type] = {f"{code} {rule.name}": rule for code, rule in all_rules().items()}
    kinds |= dict(sorted(all_passes().items()))
    texts = {key: inspect.cleandoc(kind.__doc__ or "") for key, kind in kinds.items()}
    return {key: (text.partition("\n")[0], text) for key, text in texts.items()}

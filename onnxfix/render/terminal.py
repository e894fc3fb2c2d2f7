"""Tables and paragraphs for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .table import DASH, Table
from .words import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Drawn

STYLES = {"best": "bold", "failed": "red", "flawed": "yellow", "lost": "bold red", "noisy": "yellow"}


def table(shown: Table) -> Drawn:
    """Text is folded, figures are not; what stands below a figure is left out."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False, title=shown.title or None, title_justify="left")
    for column in shown.columns:
        drawn.add_column(
            Text(column.title),
            justify="right" if column.figures else "left",
            overflow="fold",
            no_wrap=column.figures,
            min_width=column.least or None,
        )
    group = ""
    for line in shown.lines:
        if line.group != group:
            group = line.group
            drawn.add_section()
            drawn.add_row(Text(group, style="bold"))
        cells = (Text(visible(cell.text) or DASH, style=STYLES.get(cell.style, "")) for cell in line.cells)
        drawn.add_row(*cells, style=STYLES.get(line.style))
    return drawn


def line(out: Console, indent: int, *parts: str | tuple[str, str]) -> None:
    """One paragraph of (text, style) parts, its further lines indented by two more. Breaks no word that fits a line."""
    from rich.text import Text

    text = Text.assemble(*parts)
    wide = out.width - indent
    lines = text.wrap(out, max(wide, 20), no_wrap=False)
    if len(lines) > 1:
        lines = text.wrap(out, max(wide - 2, 20), no_wrap=False)
    for index, each in enumerate(lines):
        each.rstrip()
        out.print(Text(" " * (indent + 2 * (index > 0))) + each, soft_wrap=True)

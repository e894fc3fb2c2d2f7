"""Pieces of Markdown: tables, and text and names that cannot become markup or call anyone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .table import DASH, Cell, Table
from .words import visible


def code(text: str, longest: int = 0) -> str:
    """A code span, its backticks fenced by more of them; empty for an empty text."""
    name = _cut(visible(text), longest)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", name)), default=0))
    space = " " if name.startswith("`") or name.endswith("`") else ""
    return f"{fence}{space}{name}{space}{fence}" if name else ""


def plain(text: str, longest: int = 0) -> str:
    """Text that Markdown and HTML leave alone; the comment after `@` keeps it from calling anyone."""
    # an underscore within a word is none of Markdown's
    shown = _cut(visible(text), longest).replace("&", "&amp;")
    escaped = re.sub(r"([\\`*\[\]<>~]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", shown)
    return escaped.replace("@", "@<!-- -->")


def table(shown: Table, name: int = 0, sentence: int = 0) -> str:
    """`name`, `sentence`: most characters of one in a cell; 0: as long as they are."""
    rows, group = [], ""
    for line in shown.lines:
        if line.group != group:
            group = line.group
            rows.append([f"**{plain(group)}**", *[""] * (len(shown.columns) - 1)])
        rows.append([_cell(cell, name, sentence) for cell in line.cells])
    return grid([plain(c.title) for c in shown.columns], rows, [c.figures for c in shown.columns])


def grid(heads: Sequence[str], rows: Iterable[Sequence[str]], figures: Sequence[bool] = ()) -> str:
    """Cells are Markdown already. Bars inside them are escaped, which GitHub undoes before it reads code spans."""
    rule = ["---:" if right else "---" for right in figures or [False] * len(heads)]
    lines = [*([cell.replace("|", "\\|") for cell in row] for row in (heads, *rows))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def _cell(cell: Cell, name: int, sentence: int) -> str:
    return (code(cell.text, name) if cell.code else plain(cell.text, sentence)) or DASH


def _cut(text: str, longest: int) -> str:
    return f"{text[: longest - 1]}…" if 0 < longest < len(text) else text

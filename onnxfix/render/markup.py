"""Pieces of a page: text and data that cannot become markup, sections and tables."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from html import escape

from .table import DASH, Cell, Column, Table
from .words import visible

LONGEST = 500
"""Rows of one table; a page of 10,000 rows is not read, and --format json has all."""
BAR = 110


def text(words: str) -> str:
    """Text as HTML, quotes included, without control characters."""
    return escape(visible(words), quote=True)


def code(words: str) -> str:
    return f"<code>{text(words)}</code>" if words else ""


def data_block(document: object) -> str:
    """JSON that no parser of HTML takes for anything else: without `<`, `>` and `&`."""
    encoded = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return encoded.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def section(title: str, hint: str, parts: Iterable[str]) -> str:
    """A part of the page under its heading; all three are HTML already."""
    return f'<section><h2>{title}</h2><p class="hint">{hint}</p>{"".join(parts)}</section>'


def details(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>{body}</details>"


def table(shown: Table, rules: Collection[str] = (), numbered: bool = False) -> str:
    """Codes in `rules` lead to what the page says of them. `numbered`: each row has its number, and is led to by it."""
    heads = "".join(f"<th{_side(c)}>{text(c.title)}</th>" for c in shown.columns)
    body, group = "", ""
    for number, line in enumerate(shown.lines[:LONGEST], start=1):
        if line.group != group:
            group = line.group
            body += f'<tr class="group"><td colspan="{len(line.cells) + numbered}">{text(group)}</td></tr>'
        first = f'<td class="number"><a id="row-{number}"></a>{number}</td>' if numbered else ""
        cells = (f"<td{_side(c)}>{_cell(cell, rules)}</td>" for c, cell in zip(shown.columns, line.cells, strict=True))
        body += f'<tr class="{text(line.style)}">{first}{"".join(cells)}</tr>'
    head = '<th class="number"></th>' * numbered + heads
    more = f'<p class="hint">… and {len(shown.lines) - LONGEST:,} more: --format json lists all.</p>'
    drawn = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return drawn + (more if len(shown.lines) > LONGEST else "")


def _side(column: Column) -> str:
    return ' class="number"' if column.figures else ""


def _cell(cell: Cell, rules: Collection[str]) -> str:
    shown = code(cell.text) if cell.code else _linked(cell.text, rules)
    if cell.bar is not None:
        long = max(2.0, cell.bar * BAR)
        shown = (
            f'<svg class="bar" width="{BAR}" height="12" role="img" aria-label="{text(cell.text)}">'
            f'<rect class="{text(cell.style)}" width="{long:.0f}" height="12" rx="2"/></svg>{shown}'
        )
    elif cell.style:
        shown = f'<span class="{text(cell.style)}" title="{text(cell.tip)}">{shown}</span>'
    return (shown or DASH) + (f"<small>{text(cell.below)}</small>" if cell.below else "")


def _linked(words: str, rules: Collection[str]) -> str:
    return re.sub(r"\b[A-Z]\d{3}\b", lambda m: f'<a href="#{m[0]}">{m[0]}</a>' if m[0] in rules else m[0], text(words))

"""Pieces of the page: text and data that cannot become markup, sections and tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape

from .words import visible

LONGEST = 500
"""Rows of one table; a page of 10,000 rows is not read, and --format json has all."""

Row = Sequence[str]


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


def table(heads: Row, rows: Iterable[Row], numeric: tuple[int, ...] = ()) -> str:
    """Cells are HTML already; `numeric` columns stand to the right."""
    cells = list(rows)
    kinds = [' class="number"' if i in numeric else "" for i in range(len(heads))]
    head = "".join(f"<th{kind}>{title}</th>" for kind, title in zip(kinds, heads, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in cells[:LONGEST]
    )
    more = f'<p class="hint">… and {len(cells) - LONGEST:,} more: --format json lists all.</p>'
    drawn = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return drawn + (more if len(cells) > LONGEST else "")

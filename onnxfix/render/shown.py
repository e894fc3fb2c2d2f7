"""Results that show themselves: as JSON, as Markdown, as a page, and as a table in a notebook."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnxfix.nouns.errors import Sentence, Voice, python, spoken

from .markup import text

LONGEST = 30
"""Rows of a table in a notebook; the page has all."""


@dataclass(frozen=True)
class Summary:
    """A sentence, and a table of plain text below it."""

    title: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()

    def html(self, limit: int | None = None) -> str:
        """A fragment: a paragraph and a table, its words as text."""
        shown = self.rows[:limit]
        more = f"<p>and {len(self.rows) - len(shown)} more</p>" if len(shown) < len(self.rows) else ""
        head = "".join(f"<th>{text(column)}</th>" for column in self.columns)
        body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in shown)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if shown else ""
        return f"<p><b>{text(self.title)}</b></p>{table}{more}"

    def markdown(self) -> str:
        lines = [f"**{_cell(self.title)}**", ""]
        if self.rows:
            lines += [_line(self.columns), _line(["---"] * len(self.columns)), *(_line(row) for row in self.rows)]
        return "\n".join(lines).rstrip() + "\n"


class Shown:
    """What every result of the Python door can do, by its `as_dict` and `in_short`."""

    def as_dict(self) -> dict[str, Any]:
        raise NotImplementedError

    def in_short(self) -> Summary:
        """A sentence and a table."""
        raise NotImplementedError

    def to_json(self) -> str:
        """The document of the command line's `--format json`."""
        return json_text(self.as_dict())

    def to_markdown(self) -> str:
        return self.in_short().markdown()

    def to_html(self) -> str:
        """A page of one file, which loads nothing else."""
        from .document import whole

        return whole("onnxfix", ["page.css"], [self.in_short().html()])

    def _repr_html_(self) -> str:
        return self.in_short().html(LONGEST)


def json_text(document: object, voice: Voice = python) -> str:
    """JSON with NaN and infinities as null, which JSON knows, and parameters as a voice says them."""
    return json.dumps(_plain(document, voice), indent=2, ensure_ascii=False)


def _plain(value: Any, voice: Voice) -> Any:
    if isinstance(value, Sentence):
        return spoken(value, voice)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): _plain(v, voice) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, voice) for v in value]
    return value


def _cell(content: str) -> str:
    """Text that is no Markdown: `|` would end a cell, a line break the row."""
    return " ".join(content.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"

"""Results that show themselves: as JSON, as Markdown, as a page, and as a table in a notebook."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from onnxfix.nouns.errors import Sentence, Voice, python, spoken

from . import markdown, markup
from .table import Column, Table, table

LONGEST = 30
"""Rows of a table in a notebook; the page has all."""


@dataclass(frozen=True)
class Summary:
    """A sentence, and a table below it."""

    title: str
    table: Table

    @staticmethod
    def of(title: str, columns: Iterable[Column | str] = (), rows: Iterable[Iterable[str]] = ()) -> Summary:
        return Summary(title, table(columns, rows))

    def html(self, limit: int = markup.LONGEST) -> str:
        """A fragment: a paragraph and a table of at most `limit` rows."""
        shown, left = self.table.first(limit), len(self.table.lines) - limit
        more = f"<p>and {left:,} more</p>" if left > 0 else ""
        return f"<p><b>{markup.text(self.title)}</b></p>{markup.table(shown) if shown.lines else ''}{more}"

    def markdown(self) -> str:
        drawn = f"\n\n{markdown.table(self.table)}" if self.table.lines else ""
        return f"**{markdown.plain(self.title)}**{drawn}\n"


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

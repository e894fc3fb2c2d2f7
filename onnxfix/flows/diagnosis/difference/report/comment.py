"""Markdown for a pull request comment: the verdict and what changed as tables, the rest folded away."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from onnxfix.render import markdown
from onnxfix.render.markdown import code, plain
from onnxfix.render.table import Table
from onnxfix.render.words import plural

from . import contents, placement, verdict, weights

if TYPE_CHECKING:
    from onnxfix.flows.diagnosis.difference.difference import Difference

ROWS = 40
NAME, SENTENCE = 160, 400
"""Most rows of a table, and characters of a name and of a sentence in it: GitHub takes 65,536 in a comment."""


def comment(found: Difference, every: bool = False) -> str:
    """The whole comment. `every`: operators and modules that did not change, too."""
    names = " → ".join(code(PurePath(side.path).name, NAME) for side in (found.before, found.after))
    lines = [contents.nodes(found), contents.sizes(found), *weights.storage(found)]
    parts = [
        f"### onnxfix: {names}: {plain(verdict.verdict(found), SENTENCE)}",
        "\n".join(f"* {plain(line)}" for line in lines),
        _table("Inputs and outputs", contents.interface(found)),
        _table("Versions", contents.facts(found, counts=True)),
        _table("By module", contents.modules(found, every)),
        _table("Weights", weights.weights(found)),
        _placement(found),
        _details("Operators", contents.operators(found, every)),
        _details("Weights by type", weights.types(found)),
        _details(contents.NOT_COUNTED, contents.facts(found, counts=False)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _placement(found: Difference) -> str:
    if found.placement is None:
        return ""
    lines = "\n".join(f"* {plain(line)}" for line in placement.lines(found.placement))
    head = f"**{plain(placement.title(found.placement))}**\n\n{lines}"
    copies = placement.copies(found.placement)
    return f"{head}\n\n{_rows(copies)}" if copies.lines else head


def _table(title: str, shown: Table) -> str:
    return f"**{title}**\n\n{_rows(shown)}" if shown.lines else ""


def _details(title: str, shown: Table) -> str:
    return f"<details><summary>{title}</summary>\n\n{_rows(shown)}\n\n</details>" if shown.lines else ""


def _rows(shown: Table) -> str:
    left = len(shown.lines) - ROWS
    more = f"\n\n… and {plural(left, 'more row')} (the JSON document has all)" if left > 0 else ""
    return markdown.table(shown.first(ROWS), NAME, SENTENCE) + more

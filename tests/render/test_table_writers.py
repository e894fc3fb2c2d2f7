"""One table in a terminal, in Markdown and on a page: the same words, the same dash, and no text that is markup."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from onnxfix.render import markdown, markup, terminal
from onnxfix.render.table import DASH, Cell, Column, Line, Table, table

HOSTILE = "</td><img src=x> [b]a|b_c_[/b] @all"
SHOWN = Table(
    (Column("variant"), Column("ms", True, below="95 %"), Column("result")),
    (
        Line((Cell("torch"), Cell("1.00", below="0.90 … 1.10"), Cell("works (K001)"))),
        Line((Cell(HOSTILE), Cell(), Cell("err", style="failed", tip="no memory")), "failed", "after"),
    ),
)


def in_terminal(shown: Table) -> list[list[str]]:
    stream = io.StringIO()
    Console(file=stream, width=200, highlight=False).print(terminal.table(shown))
    lines = [line for line in stream.getvalue().splitlines() if line.strip() and "─" not in line]
    return [[cell for cell in re.split(r"\s{2,}", line.strip()) if cell] for line in lines]


def in_markdown(shown: Table) -> list[list[str]]:
    lines = [re.split(r" (?<!\\)\| ", line[2:-2]) for line in markdown.table(shown).splitlines()]
    plain = [[re.sub(r"\\(.)", r"\1", cell.replace("<!-- -->", "")).strip("*") for cell in line] for line in lines]
    return [[cell for cell in line if cell.strip()] for i, line in enumerate(plain) if i != 1]


def on_a_page(shown: Table) -> list[list[str]]:
    drawn = re.sub(r"<small>.*?</small>", "", markup.table(shown))
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr.*?</tr>", drawn)]
    return [[html.unescape(re.sub(r"<[^>]*>", "", cell)) for cell in row] for row in rows]


@pytest.mark.parametrize("written", [in_terminal, in_markdown, on_a_page])
def test_every_format_says_the_same(written: Callable[[Table], list[list[str]]]) -> None:
    assert written(SHOWN) == [
        ["variant", "ms", "result"], ["torch", "1.00", "works (K001)"], ["after"], [HOSTILE, DASH, "err"],
    ]  # fmt: skip


def test_an_interval_stands_below_its_figure_or_in_a_column_of_its_own() -> None:
    assert "1.00<small>0.90 … 1.10</small>" in markup.table(SHOWN)
    assert "| variant | ms | 95 % | result |" in markdown.table(SHOWN.spread())
    assert "| torch | 1.00 | 0.90 … 1.10 | works (K001) |" in markdown.table(SHOWN.spread())


def test_a_page_leads_to_what_a_code_means_and_says_why_something_failed() -> None:
    drawn = markup.table(SHOWN, {"K001"}, numbered=True)
    assert 'works (<a href="#K001">K001</a>)' in drawn and 'href="#K001"' not in markup.table(SHOWN)
    assert 'title="no memory"' in drawn and '<a id="row-2"></a>2' in drawn and "<img" not in drawn


def test_columns_can_be_left_out() -> None:
    assert [column.title for column in SHOWN.without("ms").columns] == ["variant", "result"]
    empty = table(("a", "b"), [("x", ""), ("y", "")])
    assert [column.title for column in empty.known().columns] == ["a"] and len(empty.first(1).lines) == 1

"""Table: what a report says in rows and columns, as plain text; a terminal, Markdown and a page only write it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

DASH = "–"
"""Stands in every format where there is nothing."""


@dataclass(frozen=True)
class Column:
    """`figures` stand to the right on one line; `least`: characters that a terminal leaves it."""

    title: str
    figures: bool = False
    least: int = 0
    below: str = ""
    """Title of what stands below its figures, where that is a column of its own."""


@dataclass(frozen=True)
class Cell:
    """Plain text, which each format escapes. `code`: a name of the model or a command."""

    text: str = ""
    code: bool = False
    style: str = ""
    """A class of the page's style sheet, and a colour in a terminal."""
    below: str = ""
    """Small, under the text: an interval."""
    tip: str = ""
    """What a page says of it when pointed at."""
    bar: float | None = None
    """Length of a bar beside it on a page, 0 to 1."""


@dataclass(frozen=True)
class Line:
    """A row. Lines of one `group` stand under its name."""

    cells: tuple[Cell, ...]
    style: str = ""
    group: str = ""


@dataclass(frozen=True)
class Table:
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    title: str = ""

    def without(self, *titles: str) -> Table:
        """Fewer columns."""
        return self._of([i for i, column in enumerate(self.columns) if column.title not in titles])

    def known(self) -> Table:
        """Only columns in which something stands."""
        return self._of([i for i in range(len(self.columns)) if any(line.cells[i].text for line in self.lines)])

    def spread(self) -> Table:
        """What stands below a figure in a column of its own behind it."""
        columns = tuple(part for c in self.columns for part in (c, Column(c.below, c.figures)) if part.title)
        return replace(self, columns=columns, lines=tuple(self._spread(line) for line in self.lines))

    def first(self, count: int) -> Table:
        return replace(self, lines=self.lines[:count])

    def _of(self, kept: list[int]) -> Table:
        lines = tuple(replace(line, cells=tuple(line.cells[i] for i in kept)) for line in self.lines)
        return replace(self, columns=tuple(self.columns[i] for i in kept), lines=lines)

    def _spread(self, line: Line) -> Line:
        cells: list[Cell] = []
        for column, cell in zip(self.columns, line.cells, strict=True):
            cells += [replace(cell, below=""), Cell(cell.below)] if column.below else [cell]
        return replace(line, cells=tuple(cells))


def table(columns: Iterable[Column | str], rows: Iterable[Iterable[Cell | str]], title: str = "") -> Table:
    """Of titles and texts, where there is nothing more to say of a column or a cell."""
    heads = tuple(c if isinstance(c, Column) else Column(c) for c in columns)
    return Table(heads, tuple(Line(tuple(c if isinstance(c, Cell) else Cell(c) for c in row)) for row in rows), title)

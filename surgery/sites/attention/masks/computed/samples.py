"""Paddings that tell masks apart: on the right, on the left, with holes, none, and all of a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxfix.surgery.sites.constants import Array

from .grid import WITH_PAST, Grid, Point

FIRST_LENGTHS = (1, 2, 5, 17, 150)
DOUBLED = (300, 600, 1200)
"""Beyond most windows: a limit that no length reaches is not seen."""
LONG = 100
LONGEST = 4200
"""A window of 4,096, the widest of published models' sliding windows, and some keys beyond it."""
MARGIN = 40
"""Keys beyond a number that may be a window's."""
UNEVEN = {"anew": "positions that begin anew", "back": "positions that run backwards"}
"""Numbers of a position input that are not the places of tokens, as of two texts in one row: nothing is padding."""


@dataclass(frozen=True)
class Sample:
    """`mask` [batch, keys] of 0 and 1, one kind of padding a row."""

    point: Point
    kinds: tuple[str, ...]
    mask: Array

    @property
    def counts(self) -> Array:
        """[batch, keys]: how many tokens that are no padding stand before each key."""
        counted: Array = np.maximum(np.cumsum(self.mask, axis=1) - 1, 0)
        return counted

    @property
    def positions(self) -> Array:
        """[batch, keys]: numbers for a position input: indices where nothing is padding, else with steps of one and
        two, so that they are neither indices nor counts."""
        index = np.arange(self.mask.shape[1])
        half = len(index) // 2
        uneven = {"anew": np.where(index < half, index, index - half), "back": index[::-1]}
        made = np.where((self.mask == 0).any(axis=1, keepdims=True), index + index // 3, index)
        if set(self.kinds) <= set(uneven):
            made[:] = uneven[self.kinds[0]]
        return made

    def words(self, row: int) -> str:
        """Which row of which sample, for a report."""
        kind = self.kinds[row % len(self.kinds)]
        if kind in UNEVEN:
            return f"{self.point.length} tokens with {UNEVEN[kind]}"
        padding = {"full": "no padding", "holes": "holes", "empty": "all padding"}.get(kind, f"padding on the {kind}")
        past = f" after {self.point.past}" if self.point.past else ""
        return f"{self.point.length} tokens{past} with {padding}"


def first(grid: Grid, padded: bool) -> Iterator[Sample]:
    """Small sizes, all kinds of padding: beside each other in a batch of three, so that few sizes are tried."""
    lengths: Sequence[int] = FIRST_LENGTHS if grid.has_length else (grid.length or 1,)
    for length in lengths:
        yield from _of(grid, length, ("full", "right", "left") if padded else ("full",) * 3)
        if padded:
            yield from _of(grid, length, ("holes", "empty" if length < LONG or not grid.has_length else "left", "full"))
    yield from _of(grid, lengths[-2:][0], ("full",))
    if grid.has_past:
        yield from _of(grid, WITH_PAST.length, ("left", "holes", "full") if padded else ("full",) * 3, WITH_PAST.past)


def longer(grid: Grid, length: int, padded: bool) -> Iterator[Sample]:
    """One length: the longest distance is between tokens that are no padding, and holes tell by what it is counted. One
    by one where they are large."""
    if grid.has_length:
        kinds = ("full", "holes") if padded else ("full",)
        for part in [kinds] if length <= DOUBLED[-1] else [(kind,) for kind in kinds]:
            yield from _of(grid, length, part)


def uneven(grid: Grid, length: int) -> Iterator[Sample]:
    """One length, where positions are the caller's: all rows of a batch have them."""
    for kind in UNEVEN:
        yield from _of(grid, length if grid.has_length else grid.length or 1, (kind,) * (grid.batch or 1))


def numbered(sample: Sample, numbers: Array) -> Sample:
    """The same sizes with these numbers [keys] in place of every mask."""
    return replace(sample, mask=np.broadcast_to(numbers, sample.mask.shape))


def _of(grid: Grid, length: int, kinds: tuple[str, ...], past: int = 0) -> Iterator[Sample]:
    """In one batch, or in as many as a fixed number of rows asks for."""
    step = grid.batch or len(kinds)
    for begin in range(0, len(kinds), step):
        some = kinds[begin : begin + step]
        some += ("full",) * (step - len(some))
        point = Point(len(some), length, past)
        yield Sample(point, some, np.stack([_row(kind, length + past, length) for kind in some]))


def _row(kind: str, keys: int, seed: int) -> Array:
    row = np.ones(keys, np.int64)
    if kind == "right":
        row[-(keys // 3) or keys :] = 0
    elif kind == "left":
        row[: keys // 3] = 0
    elif kind == "empty":
        row[:] = 0
    elif kind == "holes":  # many short ones and a long one, so that counts and indices lie far apart
        row = (np.random.default_rng(seed).random(keys) < 0.7).astype(np.int64)
        row[keys // 3 : keys // 2] = 0
        row[keys // 5] = 1
    return row

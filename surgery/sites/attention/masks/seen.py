"""Which keys a query sees, fitted: an interval of distances, behind the padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxfix.surgery.sites.constants import Array

from .computed.observed import Observed
from .mask import Positions


@dataclass(frozen=True)
class Interval:
    """Distances at which a key is seen: from `-right`, keys behind the query, to `left`; None without a limit."""

    left: int | None
    right: int | None

    def holds(self, distances: Array) -> Array:
        """Of the same shape, of bool."""
        held: Array = np.ones(distances.shape, np.bool_)
        if self.left is not None:
            held &= distances <= self.left
        if self.right is not None:
            held &= distances >= -self.right
        return held


@dataclass(frozen=True)
class Contradiction:
    """An entry that is not as the others say. `other`: one at the same distance that is the other way round; `added`:
    what is added to its score, where that is what differs, and what others say."""

    observed: Observed
    row: int
    query: int
    key: int
    seen: bool
    other: Contradiction | None = None
    added: tuple[float, float] | None = None

    def __str__(self) -> str:
        if self.added is not None:
            one, another = self.added
            where = f"to the score of query {self.query} and key {self.key}"
            return f"at {self.observed.sample.words(self.row)}, {one:g} is added {where}, and {another:g} elsewhere"
        sees = "sees" if self.seen else "does not see"
        beside = f", and {self.other}" if self.other is not None else ""
        return f"at {self.observed.sample.words(self.row)}, query {self.query} {sees} key {self.key}{beside}"


@dataclass(frozen=True)
class Fit:
    """`wrong`: the first entry that the interval and the padding do not explain."""

    padded: bool
    positions: Positions
    interval: Interval
    wrong: Contradiction | None

    def predicted(self, each: Observed) -> Array:
        """[batch, rows, keys] of bool."""
        held = self.interval.holds(each.distances(self.positions))
        return held & each.kept if self.padded else np.broadcast_to(held, (len(each.valid), *held.shape[1:]))


def fit(observed: Sequence[Observed], padded: bool, positions: Positions) -> Fit:
    """The interval that explains most, exact where `wrong` is None."""
    seen, hidden = set[int](), set[int]()
    for each in observed:
        distances = np.broadcast_to(each.distances(positions), each.seen[:, 0].shape)
        counted = np.broadcast_to(each.valid[:, :, None], distances.shape)
        counted = counted & each.kept if padded else counted
        seen.update(_distinct(distances[counted & each.seen[:, 0]]))
        hidden.update(_distinct(distances[counted & ~each.seen[:, 0]]))
    last, first = max(seen, default=0), min(seen, default=0)
    left = last if seen and any(d > last for d in hidden) else None
    right = -first if seen and any(d < first for d in hidden) else None
    interval = Interval(left, right)
    found = Fit(padded, positions, interval, None)
    return Fit(padded, positions, interval, next(_contradictions(observed, found), None))


def _distinct(distances: Array) -> Iterable[int]:
    if distances.size == 0:
        return ()
    lowest = int(distances.min())
    return (np.flatnonzero(np.bincount(distances - lowest)) + lowest).tolist()


def _contradictions(observed: Sequence[Observed], found: Fit) -> Iterator[Contradiction]:
    for each in observed:
        wrong = (found.predicted(each) != each.seen[:, 0]) & each.valid[:, :, None]
        for row, at, key in np.argwhere(wrong)[:1].tolist():
            one = _entry(each, row, at, key)
            distances = np.broadcast_to(each.distances(found.positions), wrong.shape)
            others = next(_alike(observed, found, int(distances[row, at, key]), one.seen), None)
            yield replace(one, other=others)


def _alike(observed: Sequence[Observed], found: Fit, distance: int, seen: bool) -> Iterator[Contradiction]:
    """Entries at a distance, behind no padding, that are not as this one."""
    for each in observed:
        alike = (each.distances(found.positions) == distance) & each.valid[:, :, None] & (each.seen[:, 0] != seen)
        alike = alike & each.kept if found.padded else alike
        for row, at, key in np.argwhere(alike)[:1].tolist():
            yield _entry(each, row, at, key)


def _entry(each: Observed, row: int, at: int, key: int) -> Contradiction:
    return Contradiction(each, row, int(each.rows[at]), key, bool(each.seen[row, 0, at, key]))

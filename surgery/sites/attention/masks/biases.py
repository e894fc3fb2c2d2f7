"""What is added to visible scores, fitted: a number by distance, or by query and key, one a head or one for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from onnxfix.surgery.sites.constants import Array

from .mask import Bias
from .seen import Contradiction, Fit, Observed

_PRECISION = 1e-5
"""Of the largest number: sums in another order, and logarithms of a vector and of its rest."""
_LARGEST_TABLE = 640
"""Keys up to which a number by query and key is compared; beyond, distances tell."""


def fit(observed: Sequence[Observed], found: Fit) -> Bias | Contradiction | None:
    """None where nothing, or the same number everywhere, is added; the first entry that neither distance nor positions
    explain where there is one."""
    smallest = min((float(v.min()) for _, v, _ in _visible(observed, found) if v.size), default=0.0)
    largest = max((float(v.max()) for _, v, _ in _visible(observed, found) if v.size), default=0.0)
    magnitude = max(abs(smallest), abs(largest))
    if largest - smallest <= _PRECISION * max(magnitude, 1e-30):
        return None
    heads = _heads(observed, found)
    if _by_distance(observed, found, magnitude) is None:
        return Bias(heads, True, magnitude)
    wrong = _by_positions(observed, found, magnitude)
    return wrong or Bias(heads, False, magnitude)


def _visible(observed: Sequence[Observed], found: Fit) -> Iterator[tuple[Observed, Array, Array]]:
    """Of each sample: the numbers added, [heads, entries], and which entries [batch, rows, keys] those are."""
    for each in observed:
        entries = found.predicted(each) & each.valid[:, :, None]
        shape = (*entries.shape[:1], each.scores.shape[1], *entries.shape[1:])
        yield each, np.moveaxis(np.broadcast_to(each.scores, shape), 1, 0)[:, entries], entries


def _heads(observed: Sequence[Observed], found: Fit) -> int:
    differ = any(np.ptp(values, axis=0).any() for _, values, _ in _visible(observed, found) if values.size)
    return max(each.scores.shape[1] for each in observed) if differ else 1


def _by_distance(observed: Sequence[Observed], found: Fit, magnitude: float) -> Contradiction | None:
    reach = max(int(np.abs(each.distances(found.positions)).max()) for each in observed)
    heads = max(each.scores.shape[1] for each in observed)
    table = np.zeros((heads, 2 * reach + 1))
    every = list(_visible(observed, found))
    for each, values, entries in every:
        table[:, _at(each, entries, found) + reach] = values
    for each, values, entries in every:
        wrong = np.abs(table[:, _at(each, entries, found) + reach] - values) > _PRECISION * magnitude
        if wrong.any():
            return _named(each, entries, wrong)
    return None


def _at(each: Observed, entries: Array, found: Fit) -> Array:
    distances: Array = np.broadcast_to(each.distances(found.positions), entries.shape)[entries]
    return distances


def _by_positions(observed: Sequence[Observed], found: Fit, magnitude: float) -> Contradiction | None:
    heads = max(each.scores.shape[1] for each in observed)
    table = np.zeros((heads, _LARGEST_TABLE, _LARGEST_TABLE))
    every = [(e, v, n) for e, v, n in _visible(observed, found) if e.sample.mask.shape[1] <= _LARGEST_TABLE]
    for each, values, entries in every:
        queries, keys = _places(each, entries, found)
        table[:, queries, keys] = values
    for each, values, entries in every:
        queries, keys = _places(each, entries, found)
        wrong = np.abs(table[:, queries, keys] - values) > _PRECISION * magnitude
        if wrong.any():
            return _named(each, entries, wrong)
    return None


def _places(each: Observed, entries: Array, found: Fit) -> tuple[Array, Array]:
    rows, queries, keys = np.nonzero(entries)
    if found.positions == "index":
        return each.rows[queries], keys
    places = each.sample.counts if found.positions == "count" else np.minimum(each.given, _LARGEST_TABLE - 1)
    return places[rows, each.rows[queries]], places[rows, keys]


def _named(each: Observed, entries: Array, wrong: Array) -> Contradiction:
    row, at, key = (int(i) for i in np.argwhere(entries)[int(np.flatnonzero(wrong.any(axis=0))[0])])
    return Contradiction(each, row, int(each.rows[at]), key, True)

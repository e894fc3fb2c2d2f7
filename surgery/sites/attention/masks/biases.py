"""What is added to visible scores, fitted: a number by distance, or by query and key, one a head or one for all."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from onnxfix.surgery.sites.constants import Array

from .computed.observed import Observed
from .mask import Bias
from .seen import Contradiction, Fit

_PRECISION = 1e-5
"""Of the largest number: sums in another order, and logarithms of a vector and of its rest."""
LARGEST_TABLE = 640
"""Keys up to which a number by query and key is compared; beyond, distances tell."""


Entries = tuple[Observed, Array, Array]
"""Of a sample: the numbers added to what is seen, [heads, entries], and which entries [batch, rows, keys] those are."""


def fit(observed: Sequence[Observed], found: Fit) -> Bias | Contradiction | None:
    """None where nothing, or the same number everywhere, is added; the first entry that neither distance nor positions
    explain where there is one."""
    every = [part for part in map(functools.partial(_visible, found), observed) if part[1].size]
    smallest = min((float(values.min()) for _, values, _ in every), default=0.0)
    largest = max((float(values.max()) for _, values, _ in every), default=0.0)
    magnitude = max(abs(smallest), abs(largest))
    if largest - smallest <= _PRECISION * max(magnitude, 1e-30):
        return None
    heads = max(len(values) for _, values, _ in every)
    differ = heads if any(np.ptp(values, axis=0).any() for _, values, _ in every) else 1
    if _by_distance(every, found, heads, magnitude) is None:
        return Bias(differ, True, magnitude)
    own = [_without_own(found, part) for part in every]
    if all(own) and _by_distance([part for part in own if part], found, heads, magnitude) is None:
        return Bias(differ, True, max(float(np.abs(part[1]).max()) for part in own if part))
    return _by_positions(every, found, heads, magnitude) or Bias(differ, False, magnitude)


def _visible(found: Fit, each: Observed) -> Entries:
    entries = found.predicted(each) & each.valid[:, :, None]
    shape = (*entries.shape[:1], each.scores.shape[1], *entries.shape[1:])
    return each, np.moveaxis(np.broadcast_to(each.scores, shape), 1, 0)[:, entries], entries


def _without_own(found: Fit, part: Entries) -> Entries | None:
    """Less what a query adds for its own key: a number that a whole row gets is none to a softmax. None where a query
    does not see itself."""
    each, values, entries = part
    rows, queries, _ = np.nonzero(entries)
    itself = each.rows[queries]
    if each.free or not entries[rows, queries, itself].all():
        return None
    shape = (*entries.shape[:1], each.scores.shape[1], *entries.shape[1:])
    whole = np.broadcast_to(each.scores, shape)
    return each, values - whole[rows, :, queries, itself].T, entries


def _by_distance(every: Sequence[Entries], found: Fit, heads: int, magnitude: float) -> Contradiction | None:
    reach = max(int(np.abs(each.distances(found.positions)).max()) for each, _, _ in every)
    table = np.zeros((heads, 2 * reach + 1))
    places = [_at(each, entries, found) + reach for each, _, entries in every]
    for (_, values, _), place in zip(every, places, strict=True):
        table[:, place] = values
    for (each, values, entries), place in zip(every, places, strict=True):
        wrong = np.abs(table[:, place] - values) > _PRECISION * magnitude
        if wrong.any():
            return _named(each, entries, wrong, values, table[:, place])
    return None


def _at(each: Observed, entries: Array, found: Fit) -> Array:
    distances: Array = np.broadcast_to(each.distances(found.positions), entries.shape)[entries]
    return distances


def _by_positions(every: Sequence[Entries], found: Fit, heads: int, magnitude: float) -> Contradiction | None:
    table = np.zeros((heads, LARGEST_TABLE, LARGEST_TABLE))
    small = [part for part in every if _fits(*part)]
    for each, values, entries in small:
        queries, keys = _places(each, entries, found)
        table[:, queries, keys] = values
    for each, values, entries in small:
        queries, keys = _places(each, entries, found)
        wrong = np.abs(table[:, queries, keys] - values) > _PRECISION * magnitude
        if wrong.any():
            return _named(each, entries, wrong, values, table[:, queries, keys])
    return None


def _fits(each: Observed, values: Array, entries: Array) -> bool:
    """Whether a table of places takes it: a Softmax over classes has fewer keys than queries."""
    queries, keys = int(each.rows.max(initial=0)) + 1, max(each.sample.mask.shape[1], entries.shape[-1])
    return bool(max(queries, keys) <= LARGEST_TABLE)


def _places(each: Observed, entries: Array, found: Fit) -> tuple[Array, Array]:
    rows, queries, keys = np.nonzero(entries)
    if found.positions == "index":
        return each.rows[queries], keys
    places = each.sample.counts if found.positions == "count" else np.minimum(each.given, LARGEST_TABLE - 1)
    return places[rows, each.rows[queries]], places[rows, keys]


def _named(each: Observed, entries: Array, wrong: Array, values: Array, others: Array) -> Contradiction:
    head, index = (int(i) for i in np.argwhere(wrong)[0])
    row, at, key = (int(i) for i in np.argwhere(entries)[index])
    added = (float(values[head, index]), float(others[head, index]))
    return Contradiction(each, row, int(each.rows[at]), key, True, added=added)

"""Rows that nothing reads: what queries that are padding see, and what a row becomes that sees nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from onnxfix.surgery.sites.constants import Array

from .computed.observed import Observed
from .computed.observing import Observer
from .mask import EmptyRow, PaddedRows
from .seen import Fit, fit

_FEW = 20
"""Keys of a small sample."""
_SCORE = 64.0


def small(observed: Sequence[Observed]) -> Iterator[Observed]:
    """What is cheap to compute once more: few keys, or as few as there are."""
    most = max(_FEW, min(each.sample.mask.shape[1] for each in observed))
    return (each for each in observed if each.sample.mask.shape[1] <= most)


def padded(observed: Sequence[Observed], found: Fit) -> PaddedRows | None:
    """None where a mask has no padding."""
    by_index = fit(observed, found.padded, "index") if found.positions != "index" else found
    found = found if by_index.wrong is not None else by_index  # distances of a bias may be others than those of keys
    kinds = set[PaddedRows]()
    for each in observed:
        rows = ~each.valid
        if not found.padded or not rows.any():
            continue
        seen, predicted = each.seen[:, 0][rows], found.predicted(each)[rows]
        if not np.array_equal(seen, predicted):
            kinds.add("everything" if seen.all() else "otherwise" if seen.any() else "nothing")
        elif seen.any() and not seen.all():  # else it says nothing for the formula
            kinds.add("as others")
    if not found.padded:
        return None
    return kinds.pop() if len(kinds) == 1 else "otherwise" if kinds else "as others"


def hidden(observed: Sequence[Observed]) -> float | None:
    """The largest number that hides; None for booleans."""
    numbers = [np.broadcast_to(each.scores, _whole(each))[~_wide(each)] for each in observed]
    found = [float(part.max()) for part in numbers if part.size]
    return max(found) if found and max(found) < 0 else None


def empty(observed: Sequence[Observed], observer: Observer) -> EmptyRow | None:
    """What the softmax makes of rows that see nothing; None where there is no such row."""
    kinds = set[EmptyRow]()
    for each in small(observed):
        rows = ~_wide(each).any(axis=-1)
        if not rows.any():
            continue
        numbers = each.scores[rows]
        if numbers.max() == 0:  # a boolean: what stands in a score's place is not known
            return None
        answer = observer.run(each.sample, _SCORE)[0] if observer.cone.leaves else each.scores + np.float32(_SCORE)
        kinds.update(_kind(row, other) for row, other in zip(numbers, answer[rows], strict=True))
    return kinds.pop() if len(kinds) == 1 else "otherwise" if kinds else None


def _kind(row: Array, with_scores: Array) -> EmptyRow:
    if np.isneginf(row).all():
        return "nan"
    if not np.array_equal(row, with_scores):
        return "scores"
    return "mean" if (row == row[0]).all() else "otherwise"


def _whole(each: Observed) -> tuple[int, int, int, int]:
    batch, _, rows, keys = each.seen.shape
    return batch, each.scores.shape[1], rows, keys


def _wide(each: Observed) -> Array:
    """`seen` for every head."""
    return np.broadcast_to(each.seen, _whole(each))

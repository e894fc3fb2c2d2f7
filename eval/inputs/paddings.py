"""Paddings: the same tokens with others of them hidden, at the left and here and there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .feeds import Feed

Array = np.ndarray[Any, Any]
OTHERS = ("left-padded", "holed")
ALIKE = 1e-5
"""Of the largest entry: as much as sums in another order differ by."""


def other_paddings(feed: Feed) -> list[Feed]:
    """A feed with padding at the right once with as much at the left, and once with every third token hidden too;
    none for a feed whose tokens are all real. Each row keeps a token."""
    found = _mask(feed)
    if not found or feed.arrays[found].all():
        return []
    mask = feed.arrays[found]
    holes: Array = np.where(np.arange(mask.shape[1]) % 3 == 1, 0, mask).astype(mask.dtype)
    hidden = {OTHERS[0]: np.ascontiguousarray(mask[:, ::-1]), OTHERS[1]: holes}
    return [replace(feed, name=name, arrays={**feed.arrays, found: array}) for name, array in hidden.items()]


def compared(
    feed: Feed, others: Sequence[Feed], run: Callable[[Mapping[str, Array]], Mapping[str, Array]]
) -> list[Feed]:
    """Other paddings of a feed, with the rows to compare: not those that answer by their padding, unless the output
    does so on the feed itself as well. A mean of all tokens is meant so, the first token of a row that is padded at the
    left is not."""
    meant = of_real_tokens(feed, run).rows if others else {}
    told = [of_real_tokens(other, run) for other in others]
    return [replace(t, rows={name: kept for name, kept in t.rows.items() if name not in meant}) for t in told]


def of_real_tokens(feed: Feed, run: Callable[[Mapping[str, Array]], Mapping[str, Array]]) -> Feed:
    """A feed with the rows to compare of outputs that are of whole rows: those that tell nothing of what stands at
    tokens of padding. Where a classifier reads the first token, its answer to a row that is padded at the left is of
    padding, and no result has to give the same.

    `run`: the source, from arrays to its outputs; it is run with other tokens in the place of padding.
    """
    name = _mask(feed)
    if not name:
        return feed
    real = feed.arrays[name] != 0
    others = {n: _elsewhere(a, real) if n != name and a.shape == real.shape else a for n, a in feed.arrays.items()}
    one, other = run(feed.arrays), run(others)
    rows = {}
    for output, array in one.items():
        if array.shape[:1] == real.shape[:1] and array.shape[:2] != real.shape and array.dtype.kind == "f":
            flat, changed = (each[output].reshape(len(real), -1) for each in (one, other))
            rows[output] = np.abs(flat - changed).max(axis=1, initial=0) <= ALIKE * np.abs(flat).max(initial=0)
    return replace(feed, rows={output: kept for output, kept in rows.items() if not kept.all()})


def _elsewhere(array: Array, real: Array) -> Array:
    """Real tokens in the place of those of padding."""
    if array.dtype.kind not in "iu" or not real.any():
        return array
    changed = array.copy()
    changed[~real] = np.resize(array[real][::-1], np.count_nonzero(~real))
    return changed


def _mask(feed: Feed) -> str:
    """The name of the mask, empty without one."""
    masks = (n for n, a in feed.arrays.items() if "mask" in n.lower() and a.ndim == 2 and a.dtype.kind in "iub")
    return next(masks, "")

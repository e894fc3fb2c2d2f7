"""Paddings: the same tokens with others of them hidden, at the left and here and there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxfix.nouns.types.input_roles import padding_mask

from .feeds import FEATURES, Feed

Array = np.ndarray[Any, Any]
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]
OTHERS = ("left-padded", "holed")
ALIKE = 1e-5
"""Of the largest entry: as much as sums in another order differ by."""


SHORTEST = 2
"""Tokens of a row of which some can be hidden."""
TURNS = 4
"""Other tokens in the place of padding, for a class or a flag: one of them may be the same by chance."""


def hidden(feed: Feed) -> Feed | None:
    """The same with the second half of its rows hidden, but for that of the first of several; None where the mask hides
    something already, or is of other tokens too, as those of a cache are."""
    found = mask_name(feed)
    if not found or not feed.arrays[found].all() or feed.arrays[found].shape[1] < SHORTEST:
        return None
    mask = feed.arrays[found].copy()
    if not any(n != found and a.shape[:2] == mask.shape and a.ndim <= FEATURES for n, a in feed.arrays.items()):
        return None
    mask[int(len(mask) > 1) :, (mask.shape[1] + 1) // 2 :] = 0
    return replace(feed, name=f"{feed.name}, half of it hidden", arrays={**feed.arrays, found: mask})


def other_paddings(feed: Feed) -> list[Feed]:
    """A feed with padding at the right once with as much at the left, and once with every third token hidden too;
    none for a feed whose tokens are all real. Each row keeps a token."""
    found = mask_name(feed)
    if not found or feed.arrays[found].all():
        return []
    mask = feed.arrays[found]
    holes: Array = np.where(np.arange(mask.shape[1]) % 3 == 1, 0, mask).astype(mask.dtype)
    masks = {OTHERS[0]: np.ascontiguousarray(mask[:, ::-1]), OTHERS[1]: holes}
    return [replace(feed, name=name, arrays={**feed.arrays, found: array}) for name, array in masks.items()]


def compared(feed: Feed, others: Sequence[Feed], run: Run) -> list[Feed]:
    """Other paddings of a feed, with the rows to compare: not those that answer by their padding, unless the output
    does so on the feed itself as well. A mean of all tokens is meant so, the first token of a row that is padded at the
    left is not."""
    meant = {name for name, rows in _telling(feed, run)[0].items() if rows.any()} if others else set()
    told = [of_real_tokens(other, run) for other in others]
    return [replace(t, rows={name: kept for name, kept in t.rows.items() if name not in meant}) for t in told]


def of_real_tokens(feed: Feed, run: Run) -> Feed:
    """A feed with the rows to compare of outputs that are of whole rows: those that tell nothing of what stands at
    tokens of padding. Where a classifier reads the first token, its answer to a row that is padded at the left is of
    padding, and no result has to give the same; nor the class or the flag that is made of such an answer.

    `run`: the source, from arrays to its outputs; it is run with other tokens in the place of padding.
    """
    told, numbers = _telling(feed, run)
    beside = np.any([told[name] for name in numbers], axis=0) if numbers else np.False_
    rows = {name: ~(found if name in numbers else found | beside) for name, found in told.items()}
    return replace(feed, rows={output: kept for output, kept in rows.items() if not kept.all()})


def _telling(feed: Feed, run: Run) -> tuple[dict[str, Array], set[str]]:
    """Rows of outputs of whole rows that change with what stands at tokens of padding, by the output's name; and the
    names of those that are numbers with a fraction."""
    name = mask_name(feed)
    if not name:
        return {}, set()
    real = feed.arrays[name] != 0
    one = {n: a for n, a in run(feed.arrays).items() if a.shape[:1] == real.shape[:1] and a.shape[:2] != real.shape}
    one = {n: a.reshape(len(real), -1) for n, a in one.items() if a.dtype.kind in "fiub"}
    found = {n: np.zeros(len(real), np.bool_) for n in one}
    for turn in range(TURNS if any(a.dtype.kind != "f" for a in one.values()) else 1):
        changed = {
            n: _elsewhere(a, real, turn) if n != name and a.shape[:2] == real.shape and a.ndim <= FEATURES else a
            for n, a in feed.arrays.items()
        }
        other = run(changed)
        for n, array in one.items():
            found[n] |= _differs(array, other[n].reshape(len(real), -1))
    return found, {n for n, array in one.items() if array.dtype.kind == "f"}


def _differs(one: Array, other: Array) -> Array:
    """By row: numbers by more than sums in another order do, all else at all."""
    if one.dtype.kind != "f":
        return np.asarray((one != other).any(axis=1))
    alike = np.abs(one - other).max(axis=1, initial=0) <= ALIKE * np.abs(one).max(initial=0)
    return np.asarray(~alike)


def _elsewhere(array: Array, real: Array, turn: int) -> Array:
    """Real tokens in the place of those of padding."""
    if array.dtype.kind not in "iuf" or not real.any():
        return array
    changed, others = array.copy(), np.roll(array[real][::-1], turn, axis=0)
    changed[~real] = others[np.arange(np.count_nonzero(~real)) % len(others)]
    return changed


def mask_name(feed: Feed) -> str:
    """The input that says which tokens are real, [batch, sequence] of 0 and 1 in any type, by what is known of it or by
    its name; empty without one."""
    if feed.mask:
        return feed.mask if feed.mask in feed.arrays else ""
    return padding_mask(n for n, a in feed.arrays.items() if a.ndim == 2 and _is_of_flags(a))


def _is_of_flags(array: Array) -> bool:
    """Floats are, where they are 0 and 1: others are added to scores, and are 0 at what is seen."""
    if array.dtype.kind == "f":
        return bool(array.any()) and bool(np.isin(array, (0, 1)).all())
    return array.dtype.kind in "iub"

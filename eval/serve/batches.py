"""Batches: rows of tokens sorted by length and cut by a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
"""Numbers of rows, from 0, of shape (rows of the batch,)."""


@dataclass(frozen=True)
class Budget:
    """How large a batch may be. A row that is larger alone is a batch of its own.

    `tokens`: rows times the length they are padded to, or, with `real`, the sum of their own lengths, for a model that
    packs its tokens. `rows`: so many in each batch, where the model takes no other number. `length`: what every row is
    padded to, where it takes no other. `multiple`: lengths are rounded up to one of it. `alike`: rows of one length
    alone, for a model that is not told what is padding.
    """

    tokens: int
    real: bool = False
    rows: int | None = None
    length: int | None = None
    multiple: int = 1
    alike: bool = False

    def padded(self, longest: int) -> int:
        """The length that rows are padded to, of which this is the longest."""
        return self.length or -(-longest // self.multiple) * self.multiple


def cut(lengths: Sequence[int], budget: Budget) -> list[Rows]:
    """The rows of each batch, the longest first: what an allocator keeps of small runs would be in a large one's way.

    Rows of one length stay in the order given.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    sizes = sizes[order]
    found, start = [], 0
    while start < len(order):
        end = start + _count(sizes[start:], budget)
        found.append(order[start:end])
        start = end
    return found


def _count(sizes: Rows, budget: Budget) -> int:
    """How many of the rows left, longest first, are the next batch."""
    longest = int(sizes[0])
    if budget.rows is not None:
        count = budget.rows
    elif budget.real:
        count = int(np.searchsorted(np.cumsum(sizes), budget.tokens, side="right"))
    else:
        count = budget.tokens // budget.padded(longest)
    if budget.alike:
        count = min(count, int(np.count_nonzero(sizes == longest)))
    return min(max(count, 1), len(sizes))

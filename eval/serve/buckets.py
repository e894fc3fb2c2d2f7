"""Buckets: sizes that packed batches are filled up to, so that a device sees few of them and can keep what it made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEPS = 8
"""Sizes between one power of two and the next: at most an eighth more is computed than is asked for."""


def filled(real: NDArray[np.bool_], most: int | None = None) -> NDArray[np.bool_]:
    """[rows, length] with further tokens in rows of their own behind, so that tokens, rows and length are sizes of a
    few; no row is longer than `most`, for which the model has positions. A tail without a row of its own is not written
    by all kernels of attention."""
    rows, length = real.shape
    longest, count = min(bucket(length), most or bucket(length)), int(real.sum())
    more = bucket(count) - count
    needed = rows + -(-more // longest)
    whole = np.zeros((1 << (needed - 1).bit_length(), longest), np.bool_)
    whole[:rows, :length] = real
    behind = whole[rows:].reshape(-1)
    behind[:more] = True
    return whole


def bucket(size: int) -> int:
    """The next of eight sizes from one power of two to the next; below 16 the size itself."""
    step = 1 << max(0, (size - 1).bit_length() - STEPS.bit_length())
    return -(-size // step) * step

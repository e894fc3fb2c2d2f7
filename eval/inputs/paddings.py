"""Paddings: the same tokens with others of them hidden, at the left and here and there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .feeds import Feed

Array = np.ndarray[Any, Any]


def other_paddings(feed: Feed) -> list[Feed]:
    """A feed with padding at the right once with as much at the left, and once with every third token hidden too;
    none for a feed whose tokens are all real. Each row keeps a token."""
    found = next(
        (n for n, a in feed.arrays.items() if "mask" in n.lower() and a.ndim == 2 and a.dtype.kind in "iub"), ""
    )
    if not found or feed.arrays[found].all():
        return []
    mask = feed.arrays[found]
    holes: Array = np.where(np.arange(mask.shape[1]) % 3 == 1, 0, mask).astype(mask.dtype)
    hidden = {"left-padded": np.ascontiguousarray(mask[:, ::-1]), "holed": holes}
    return [replace(feed, name=name, arrays={**feed.arrays, found: array}) for name, array in hidden.items()]

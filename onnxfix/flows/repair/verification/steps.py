"""Steps of a decoder: which feeds an operator over a cache takes, where it takes less than the source does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed


def is_step(feed: Feed) -> bool:
    """False of several rows of several tokens behind a cache: GroupQueryAttention ends those in an error, and never in
    a wrong number; the pass that writes the operator says so."""
    from onnxfix.eval.numerics.compare import cached

    past, tokens = cached(feed), [a for a in feed.arrays.values() if a.ndim == 2 and a.dtype.kind in "iu"]
    if not past or not tokens:
        return True
    return len(tokens[0]) == 1 or min(array.shape[1] for array in tokens) == 1

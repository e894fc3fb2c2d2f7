"""One sample's mask, and where its queries and keys stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxfix.surgery.sites.constants import Array

from ..mask import Positions
from .samples import Sample


@dataclass(frozen=True)
class Observed:
    """One sample's mask. `rows`: the queries that were looked at, as places among the keys; `scores` [batch, heads,
    rows, keys] as far as they are added to zeros; `seen` alike, of bool, with one head; `given` [batch, keys]: the
    numbers of a position input, the indices without one. `free`: queries are other tokens than the keys."""

    sample: Sample
    rows: Array
    scores: Array
    seen: Array
    given: Array
    free: bool = False

    def distances(self, positions: Positions) -> Array:
        """[batch or 1, rows, keys]: how far each key stands before each query."""
        keys = self.sample.mask.shape[1]
        if self.free:
            return np.zeros((1, len(self.rows), keys), np.int64)
        places = {"index": np.arange(keys)[None], "count": self.sample.counts, "input": self.given}[positions]
        places = places.astype(np.int32)
        found: Array = places[:, self.rows, None] - places[:, None, :]
        return found

    @property
    def valid(self) -> Array:
        """[batch, rows]: queries that are no padding."""
        if self.free:
            return np.ones((len(self.sample.mask), len(self.rows)), np.bool_)
        found: Array = self.sample.mask[:, self.rows] != 0
        return found

    @property
    def kept(self) -> Array:
        """[batch, 1, keys]: keys that are no padding."""
        found: Array = self.sample.mask[:, None, :] != 0
        return found

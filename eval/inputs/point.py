"""Points of a sweep: how many rows a batch has, how many tokens a row, and which rows a batch is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from onnxfix.nouns.errors import OnnxfixError, arg

from .workload import DEFAULTS, Arrays, Batch, Workload, bucketed

Batching: TypeAlias = Literal["padded", "sorted"]
"""Batches of rows as they come, each padded to its longest, or of the same rows sorted by length before."""
BATCHINGS: tuple[Batching, ...] = ("padded", "sorted")
TIMED_BATCHES = 8  # in each round; all other batches are run once, for the metrics
TIMED_BATCHES_OF_A_LENGTH = 3  # batches of one length differ in their tokens alone


@dataclass(frozen=True)
class Point:
    """`length`: tokens of every row; None: the data's own lengths, padded per batch."""

    batch: int
    length: int | None = None
    batching: Batching = "padded"

    def __str__(self) -> str:
        how = ", sorted" if self.batching == "sorted" else ""
        return f"{self.batch} × {self.length} tokens" if self.length else f"batch {self.batch}{how}"

    def as_dict(self) -> dict[str, int | str | None]:
        return {"batch": self.batch, "length": self.length, "batching": self.batching}


def grid(
    batches: Sequence[int], lengths: Sequence[int], batchings: Sequence[Batching] = BATCHINGS[:1]
) -> tuple[Point, ...]:
    """Every batch size at every length, in the order given; at the data's own lengths when none is given. In each of
    the ways of batching where rows have lengths of their own: sorting those of one length changes nothing."""
    ways = batchings if not lengths else batchings[:1]
    return tuple(Point(batch, length, way) for length in (lengths or (None,)) for batch in batches for way in ways)


def timed_batches(workload: Workload, point: Point, *, whole: bool = False) -> list[Batch]:
    """What is timed at a point: at most 8 batches spread evenly over the workload, 3 at a fixed length.

    A short last batch only where there is no full one. With `whole`, where the time of all of them counts, it is one
    like the others, for it holds the longest rows where rows are sorted, and each batch stands in the middle of an
    eighth of all. Raises OnnxfixError where rows cannot be made that long.
    """
    if point.batching == "sorted":
        workload = bucketed(workload)
    if whole and point.length is None:
        batches = workload.batches(point.batch)
        count = min(TIMED_BATCHES, len(batches))
        return [batches[int((i + 0.5) * len(batches) / count)] for i in range(count)]
    if point.length is None:
        if 0 < len(workload.rows) < point.batch:  # fewer rows than a batch has: they are repeated
            repeated = [workload.rows[i % len(workload.rows)] for i in range(point.batch)]
            workload = replace(workload, rows=tuple(repeated))
        batches = workload.batches(point.batch)
        full = [batch for batch in batches if batch.rows == batches[0].rows]
        chosen = np.linspace(0, len(full) - 1, min(TIMED_BATCHES, len(full))).round().astype(int)
        return [full[i] for i in chosen]
    return of_length(workload, point.length, point.batch * TIMED_BATCHES_OF_A_LENGTH).batches(point.batch)


def of_length(workload: Workload, length: int, rows: int) -> Workload:
    """`rows` rows of exactly `length` tokens, made of the workload's rows one behind the other, round and round."""
    if workload.fixed or not workload.rows:
        raise OnnxfixError(
            f"{arg('seq')} needs rows of tokens", f"name texts with {arg('data')} and a checkpoint with a tokenizer"
        )
    names = list(workload.rows[0])
    for name in names:
        if workload.rows[0][name].ndim != 1:
            raise OnnxfixError(f"{arg('seq')} cannot lengthen the input '{name}'", f"leave {arg('seq')} out")
    made: list[Arrays] = []
    position = 0
    for _ in range(rows):
        taken: list[Arrays] = []
        while sum(len(row[names[0]]) for row in taken) < length:
            taken.append(workload.rows[position % len(workload.rows)])
            position += 1
        row = {name: np.concatenate([row[name] for row in taken])[:length] for name in names}
        made.append({name: DEFAULTS[name](a) if name == "position_ids" else a for name, a in row.items()})
    return replace(workload, rows=tuple(made), gold={}, description=f"rows of {length} tokens")

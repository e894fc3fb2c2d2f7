"""Workload: the rows a bench runs on, labelled texts or made-up feeds, cut into the same batches for every model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxfix.eval.figures.metrics import NO_LABEL, Classes
from onnxfix.nouns.errors import OnnxfixError, arg

from .feeds import Feed

Arrays = dict[str, NDArray[Any]]
DEFAULTS: Mapping[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "attention_mask": np.ones_like,
    "token_type_ids": np.zeros_like,
    "position_ids": lambda ids: np.arange(len(ids), dtype=np.int64),
}
"""What transformers gives a model that takes more than its tokenizer makes, by the token ids of a row."""


@dataclass(frozen=True)
class Batch:
    """Input name → array; `rows` is the number of samples in it."""

    arrays: Arrays
    rows: int

    @property
    def entries(self) -> int:
        """Array entries of all inputs: how large the batch is for a model."""
        return sum(array.size for array in self.arrays.values())


@dataclass(frozen=True)
class Workload:
    """Rows without a batch axis, padded per batch; or, where rows cannot be told apart, fixed batches."""

    description: str
    rows: tuple[Arrays, ...] = ()
    padding: Mapping[str, int] = field(default_factory=dict)
    """Value that fills an input up to the longest row of its batch; 0 where not given."""
    pad_left: bool = False
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Head (output name) → class names in logit order."""
    gold: Mapping[str, Classes] = field(default_factory=dict)
    """Head → class number a row, shape (rows,), or a token, (rows, tokens of the longest); -1: no label."""
    fixed: tuple[Batch, ...] = ()

    def batches(self, size: int) -> list[Batch]:
        """Batches of `size` rows in data order, the last one shorter; fixed batches come as they are."""
        if size < 1:
            raise OnnxfixError(f"a batch of {size} rows is not possible", f"give {arg('batch')} a number from 1")
        if self.fixed:
            return list(self.fixed)
        if not self.rows:
            raise OnnxfixError(f"{self.description} has no rows", f"name data with {arg('data')}")
        return [self._batch(self.rows[start : start + size]) for start in range(0, len(self.rows), size)]

    def labels(self, first: int, count: int) -> dict[str, Classes]:
        """Head → classes of `count` rows from the first on, as a batch of them has it: those of tokens are padded as
        the rows are, -1 where there is no label."""
        longest = max((len(next(iter(row.values()))) for row in self.rows[first : first + count]), default=0)
        return {head: self._of_batch(gold[first : first + count], first, longest) for head, gold in self.gold.items()}

    def _of_batch(self, gold: Classes, first: int, longest: int) -> Classes:
        if gold.ndim == 1:
            return gold
        found = np.full((len(gold), longest), NO_LABEL, dtype=np.int64)
        for index, each in enumerate(gold):
            length = len(next(iter(self.rows[first + index].values())))
            start = longest - length if self.pad_left else 0
            found[index, start : start + length] = each[:length]
        return found

    def labelled(self, head: str, logits: NDArray[Any], first: int) -> NDArray[Any]:
        """Of a batch's logits (rows, tokens, classes) those of labelled tokens, one row behind the other.

        `first`: the number of its first row. Raises ValueError for an output that has no class a token.
        """
        count, longest = logits.shape[0], (logits.shape[1] if logits.ndim == 3 else 0)
        rows = [len(next(iter(row.values()))) for row in self.rows[first : first + count]]
        if longest != max(rows):
            raise ValueError(f"labels of '{head}' are one a token, its shape is {logits.shape}")
        kept = np.zeros((count, longest), dtype=np.bool_)
        for row, (length, gold) in enumerate(zip(rows, self.gold[head][first : first + count], strict=True)):
            start = longest - length if self.pad_left else 0
            kept[row, start : start + length] = gold[:length] != NO_LABEL
        found: NDArray[Any] = logits[kept]
        return found

    def _batch(self, rows: Sequence[Arrays]) -> Batch:
        arrays = {}
        for name in rows[0]:
            columns = [row[name] for row in rows]
            longest = np.max([column.shape for column in columns], axis=0)
            arrays[name] = np.stack([self._pad(name, column, longest) for column in columns])
        return Batch(arrays, len(rows))

    def _pad(self, name: str, array: NDArray[Any], shape: NDArray[np.int64]) -> NDArray[Any]:
        missing = [(int(want) - have) for want, have in zip(shape, array.shape, strict=True)]
        widths = [(n, 0) if self.pad_left else (0, n) for n in missing]
        return np.pad(array, widths, constant_values=self.padding.get(name, 0)) if any(missing) else array


def with_defaults(workload: Workload, inputs: Collection[str]) -> Workload:
    """The workload with those inputs that its rows lack and everybody fills in the same way."""
    first = workload.rows[0] if workload.rows else {}
    missing = [name for name in DEFAULTS if name in inputs and name not in first]
    if not missing or not first:
        return workload
    ids = "input_ids" if "input_ids" in first else next(iter(first))
    rows = (row | {name: DEFAULTS[name](row[ids]) for name in missing} for row in workload.rows)
    return replace(workload, rows=tuple(rows))


def bucketed(workload: Workload) -> Workload:
    """The same rows, shortest first, so that a batch holds rows of like lengths and little padding."""

    def length(index: int) -> int:
        return max((array.shape[0] for array in workload.rows[index].values() if array.ndim), default=0)

    order = sorted(range(len(workload.rows)), key=length)
    return replace(
        workload,
        description=f"{workload.description}, bucketed by length",
        rows=tuple(workload.rows[i] for i in order),
        gold={head: classes[np.array(order, dtype=np.int64)] for head, classes in workload.gold.items()},
    )


def feed_workload(feeds: Sequence[Feed], description: str = "made-up feeds") -> Workload:
    """Fixed batches from feeds, one a feed; the rows of a feed are the size of axis 0 of its first input."""
    batches = []
    for feed in feeds:
        first = next(iter(feed.arrays.values()), np.zeros(1))
        batches.append(Batch(dict(feed.arrays), first.shape[0] if first.ndim else 1))
    return Workload(f"{description} ({', '.join(feed.name for feed in feeds)})", fixed=tuple(batches))

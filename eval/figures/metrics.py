"""Metrics of classifiers and of logits, each defined exactly and computed with numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.int64]
DRAWS = 1000
DRAWN_AT_ONCE = 10_000_000  # weights in memory at once, rows × draws: 80 MB
ENTRIES_AT_ONCE = 50_000_000  # of an output compared at once in float64; a batch of token logits has 400 million
NO_LABEL = -1  # stands for the class of a row without a label, which counts in no metric


def macro_f1(gold: Classes, predicted: Classes) -> float:
    """Unweighted mean over classes of 2·TP / (2·TP + FP + FN).

    Both are class numbers of shape (rows,). The classes are those present in `gold` or in `predicted`, so a class that
    is only ever predicted counts with F1 0, and one that appears in neither does not count. NaN without labelled rows.
    """
    gold, predicted = _labelled(gold, predicted)
    hits, sizes = _counts(gold, predicted)
    return float(np.mean(2 * hits / sizes)) if len(hits) else float("nan")


def class_f1(gold: Classes, predicted: Classes) -> dict[int, float]:
    """F1 of each class that is present in `gold` or in `predicted`."""
    gold, predicted = _labelled(gold, predicted)
    hits, sizes = _counts(gold, predicted)
    return {int(c): float(2 * h / n) for c, h, n in zip(np.union1d(gold, predicted), hits, sizes, strict=True)}


def f1_difference(gold: Classes, baseline: Classes, predicted: Classes) -> tuple[float, float]:
    """95 % bootstrap interval of macro F1 of `predicted` less that of `baseline`; NaN without labelled rows.

    Rows are drawn with replacement, the same for both (paired bootstrap, Efron & Tibshirani 1993): two models of one
    checkpoint err on the same rows, so that the difference is known far better than either F1.
    """
    if np.array_equal(baseline, predicted):
        return 0.0, 0.0
    known = gold != NO_LABEL
    gold, baseline, predicted = gold[known], baseline[known], predicted[known]
    if not len(gold):
        return float("nan"), float("nan")
    rng = np.random.default_rng(0)
    # weights: how often each row occurs in each draw
    even, step = np.full(len(gold), 1 / len(gold)), max(1, DRAWN_AT_ONCE // len(gold))
    found = []
    for first in range(0, DRAWS, step):
        weights = rng.multinomial(len(gold), even, min(step, DRAWS - first)).astype(np.float64)
        found.append(_macro_f1s(gold, predicted, weights) - _macro_f1s(gold, baseline, weights))
    draws = np.concatenate(found)
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def kl_divergence(reference: NDArray[Any], candidate: NDArray[Any]) -> float:
    """Mean over rows of KL(softmax(reference) ‖ softmax(candidate)), in nats. Logits of shape (rows, classes).

    Rows with a NaN or infinite entry in either do not count; NaN when none is left.
    """
    one, other = (_log_softmax(logits.astype(np.float64)) for logits in (reference, candidate))
    with np.errstate(invalid="ignore"):
        rows = np.sum(np.exp(one) * (one - other), axis=1)
    rows = rows[np.isfinite(rows)]
    return float(max(0.0, np.mean(rows))) if len(rows) else float("nan")


def accuracy(gold: Classes, predicted: Classes) -> float:
    """Share of labelled rows predicted right; NaN without labelled rows."""
    gold, predicted = _labelled(gold, predicted)
    return float(np.mean(gold == predicted)) if len(gold) else float("nan")


def agreement(one: dict[str, Classes], other: dict[str, Classes]) -> float:
    """Share of rows on which the predictions of every head are equal; NaN without a common head or without rows.

    Both map a head's name to its predicted class numbers, shape (rows,). Heads of another number of rows, which are of
    tokens, are compared among themselves: the lowest share counts.
    """
    heads = [head for head in one if head in other and len(one[head])]
    sizes = {len(one[head]) for head in heads}
    equal = ([one[head] == other[head] for head in heads if len(one[head]) == size] for size in sizes)
    return min((float(np.mean(np.all(each, axis=0))) for each in equal), default=float("nan"))


class LogitDifference:
    """Difference of one output from its reference, added up batch by batch so that no output need be kept.

    `rel_l2` is ||candidate - reference|| / ||reference|| and `max_abs` the largest |candidate - reference|, both over
    entries that are finite in both; `nonfinite_rows` counts rows (axis 0) in which an entry that is finite in the
    reference is NaN or infinite in the candidate.
    """

    def __init__(self) -> None:
        self._delta = 0.0
        self._scale = 0.0
        self.max_abs = 0.0
        self.nonfinite_rows = 0

    def add(self, reference: NDArray[Any], candidate: NDArray[Any]) -> None:
        """Both of one shape, any real dtype, rows along axis 0. Raises ValueError when the shapes differ."""
        if reference.shape != candidate.shape:
            raise ValueError(f"shape {candidate.shape} instead of {reference.shape}")
        if reference.ndim and reference.shape[0] > 1 and reference.size > ENTRIES_AT_ONCE:
            step = max(1, ENTRIES_AT_ONCE // (reference.size // reference.shape[0]))
            for first in range(0, reference.shape[0], step):
                self.add(reference[first : first + step], candidate[first : first + step])
            return
        expected, actual = reference.astype(np.float64), candidate.astype(np.float64)
        finite = np.isfinite(expected)
        lost = finite & ~np.isfinite(actual)
        both = finite & ~lost
        delta = actual[both] - expected[both]
        self._delta += float(delta @ delta)
        self._scale += float(expected[finite] @ expected[finite])
        self.max_abs = max(self.max_abs, float(np.max(np.abs(delta), initial=0.0)))
        self.nonfinite_rows += int(np.count_nonzero(lost.reshape(len(lost), -1).any(axis=1))) if lost.ndim else 0

    @property
    def rel_l2(self) -> float:
        """When the reference is all zeros: the plain norm of the difference."""
        return float(np.sqrt(self._delta / self._scale if self._scale else self._delta))


def _counts(gold: Classes, predicted: Classes) -> tuple[NDArray[Any], NDArray[Any]]:
    """By class present in either: rows of the class in both, and the sum of its rows in each."""
    classes = np.union1d(gold, predicted)
    is_gold, is_predicted = gold == classes[:, None], predicted == classes[:, None]
    return np.sum(is_gold & is_predicted, axis=1), np.sum(is_gold, axis=1) + np.sum(is_predicted, axis=1)


def _macro_f1s(gold: Classes, predicted: Classes, weights: NDArray[Any]) -> NDArray[Any]:
    """Macro F1 of every draw: `weights` of shape (draws, rows) says how often each row counts."""
    classes = np.union1d(gold, predicted)
    is_gold, is_predicted = gold[:, None] == classes, predicted[:, None] == classes
    hits, sizes = weights @ (is_gold & is_predicted), weights @ is_gold + weights @ is_predicted
    f1 = np.divide(2 * hits, sizes, out=np.full(hits.shape, np.nan), where=sizes > 0)
    found: NDArray[Any] = np.nanmean(f1, axis=1)  # a class that a draw lacks does not count in it
    return found


def _log_softmax(logits: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(invalid="ignore"):
        shifted = logits - np.max(logits, axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True)))


def _labelled(gold: Classes, predicted: Classes) -> tuple[Classes, Classes]:
    if gold.shape != predicted.shape:
        raise ValueError(f"{gold.shape} gold classes against {predicted.shape} predictions")
    known = gold != NO_LABEL
    return gold[known], predicted[known]

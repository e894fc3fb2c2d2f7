"""Metrics of classifiers and of logits, each defined exactly and computed with numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.int64]
NO_LABEL = -1  # gold class of a row that has none; such rows count in no metric


def macro_f1(gold: Classes, predicted: Classes) -> float:
    """Unweighted mean over classes of 2·TP / (2·TP + FP + FN).

    Both are class numbers of shape (rows,). The classes are those present in `gold` or in `predicted`, so a class that
    is only ever predicted counts with F1 0, and one that appears in neither does not count. NaN without labelled rows.
    """
    gold, predicted = _labelled(gold, predicted)
    classes = np.union1d(gold, predicted)
    if not len(classes):
        return float("nan")
    scores = []
    for number in classes:
        is_gold, is_predicted = gold == number, predicted == number
        hits = np.count_nonzero(is_gold & is_predicted)
        scores.append(2 * hits / (np.count_nonzero(is_gold) + np.count_nonzero(is_predicted)))
    return float(np.mean(scores))


def accuracy(gold: Classes, predicted: Classes) -> float:
    """Share of labelled rows predicted right; NaN without labelled rows."""
    gold, predicted = _labelled(gold, predicted)
    return float(np.mean(gold == predicted)) if len(gold) else float("nan")


def agreement(one: dict[str, Classes], other: dict[str, Classes]) -> float:
    """Share of rows on which the predictions of every head are equal; NaN without a common head or without rows.

    Both map a head's name to its predicted class numbers, shape (rows,).
    """
    heads = [head for head in one if head in other]
    if not heads or not len(one[heads[0]]):
        return float("nan")
    return float(np.mean(np.all([one[head] == other[head] for head in heads], axis=0)))


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


def _labelled(gold: Classes, predicted: Classes) -> tuple[Classes, Classes]:
    if gold.shape != predicted.shape:
        raise ValueError(f"{gold.shape} gold classes against {predicted.shape} predictions")
    known = gold != NO_LABEL
    return gold[known], predicted[known]

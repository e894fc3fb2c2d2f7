"""Head: the gold labels of one output, a class a row or a class a token, and how right predictions of it are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import entities
from .metrics import NO_LABEL, Classes, accuracy, class_f1, f1_difference, macro_f1


@dataclass(frozen=True)
class Head:
    """`gold`: class numbers of shape (rows,), or (rows, tokens) where tokens are labelled; -1 has no label.

    Predictions are of shape (rows,), or of all labelled tokens one row behind the other. F1 is macro over classes; of
    tags of spans it is micro over entities.
    """

    gold: Classes
    names: Sequence[str] = ()

    @property
    def labels(self) -> Classes:
        """Gold as predictions are."""
        return self.gold if self.gold.ndim == 1 else self.gold[self.gold != NO_LABEL]

    @property
    def has_entities(self) -> bool:
        return self.gold.ndim == 2 and entities.are_tags(self.names)

    def accuracy(self, predicted: Classes) -> float:
        """Share of labelled rows or tokens."""
        return accuracy(self.labels, predicted)

    def f1(self, predicted: Classes) -> float:
        if self.has_entities and len(self.labels):
            return entities.micro_f1(self._counted(predicted))
        return macro_f1(self.labels, predicted)

    def difference(self, baseline: Classes, predicted: Classes) -> tuple[float, float]:
        """95 % interval of its F1 less the baseline's."""
        if self.has_entities and len(self.labels):
            return entities.f1_difference(self._counted(baseline), self._counted(predicted))
        return f1_difference(self.labels, baseline, predicted)

    def classes(self, predicted: Classes) -> dict[str, tuple[int, float]]:
        """Class, or type of entity → how often it is there, and its F1."""
        if self.has_entities:
            by_kind = {kind: self._counted(predicted, kind) for kind in entities.kinds(self.names)}
            return {k: (int(c[:, 2].sum()), entities.micro_f1(c)) for k, c in by_kind.items() if c[:, 1:].any()}
        scores = class_f1(self.labels, predicted)
        return {self._name(n): (int(np.count_nonzero(self.labels == n)), f1) for n, f1 in scores.items()}

    def _name(self, number: int) -> str:
        return self.names[number] if 0 <= number < len(self.names) else str(number)

    def _counted(self, predicted: Classes, kind: str = "") -> entities.Counts:
        ends = np.cumsum(np.count_nonzero(self.gold != NO_LABEL, axis=1))[:-1]
        gold, said = np.split(self.labels, ends), np.split(predicted, ends)
        return entities.counted(gold, said, self.names, kind)

"""Quality of a variant from its answers: F1 by head and class, with intervals on what it differs from the baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxfix.eval.figures.head import Head
from onnxfix.eval.figures.latency import Interval
from onnxfix.eval.figures.metrics import agreement, kl_divergence
from onnxfix.eval.figures.row import HeadFigures
from onnxfix.eval.figures.verdict import THRESHOLDS
from onnxfix.eval.inputs.workload import Workload
from onnxfix.nouns.errors import OnnxfixError, arg, one_line
from onnxfix.nouns.process.discovery import from_here

from .trial import Answers

Metric = Callable[[Mapping[str, Any], Mapping[str, Any]], Any]
"""(gold, logits) → a number, or numbers by name. Both map heads: class numbers (rows,) and logits (rows, classes); of
labels of tokens, rows are the labelled tokens."""


@dataclass(frozen=True)
class Judge:
    """Figures from answers, compared in classes and F1 with those of the baseline, in logits with the reference's.
    `metric`: a task's own, beside F1."""

    workload: Workload
    baseline: Answers | None
    reference: Answers | None
    metric: Metric | None = None
    notes: list[str] = field(default_factory=list)
    """What the reader must know: variants that the metric fails on."""

    def figures(self, name: str, answers: Answers) -> dict[str, Any]:
        """The fields of the BenchRow of this name that answers decide."""
        predicted, differences = answers.predictions(), list(answers.differences.values())
        others = (self.baseline, self.reference)
        shares = [agreement(o.predictions(), predicted) if o else math.nan for o in others]
        return {
            "heads": {h: self._head(h, answers) for h in self.workload.gold if h in predicted},
            "metrics": self._own(name, answers),
            "agreement": shares[0],
            "agreement_with_reference": shares[1],
            "rel_l2_logits": max((d.rel_l2 for d in differences), default=math.nan),
            "max_abs_logits": max((d.max_abs for d in differences), default=math.nan),
            "kl_logits": self._kl(answers),
            "nonfinite_rows": max((d.nonfinite_rows for d in differences), default=0),
        }

    def classes(self, answers: Mapping[str, Answers]) -> dict[str, list[dict[str, Any]]]:
        """Head → one entry a class: its name, its labelled rows and the F1 of every variant."""
        found: dict[str, list[dict[str, Any]]] = {}
        for head in self.workload.gold:
            known = self._labels(head)
            scores = {name: known.classes(a.predictions()[head]) for name, a in answers.items() if head in a.heads}
            for label in self._in_order(head, scores.values()):
                f1 = {name: each[label][1] for name, each in scores.items() if label in each}
                count = next(each[label][0] for each in scores.values() if label in each)
                found.setdefault(head, []).append({"class": label, "rows": count, "f1": f1})
        return found

    def _labels(self, head: str) -> Head:
        return Head(self.workload.gold[head], self.workload.classes.get(head) or ())

    def _in_order(self, head: str, scores: Iterable[Mapping[str, Any]]) -> list[str]:
        """Classes in any of the scores, in the order of their numbers."""
        order = {name: place for place, name in enumerate(self.workload.classes.get(head) or ())}
        found = {label for each in scores for label in each}
        return sorted(found, key=lambda label: (order.get(label, -1), int(label) if label.isdigit() else 0, label))

    def _head(self, head: str, answers: Answers) -> HeadFigures:
        known, predicted = self._labels(head), answers.predictions()[head]
        f1, low, high, below = known.f1(predicted), math.nan, math.nan, Interval()
        base, reference = self.baseline, self.reference
        if base is not None and head in base.heads:
            low, high = known.difference(base.predictions()[head], predicted)
        if reference is not None and head in reference.heads:
            theirs = reference.predictions()[head]
            if known.f1(theirs) - f1 > THRESHOLDS.same_f1:
                below = Interval(f1 - known.f1(theirs), *known.difference(theirs, predicted))
        return HeadFigures(f1, known.accuracy(predicted), low, high, below)

    def _kl(self, answers: Answers) -> float:
        reference = self.reference
        shared = [h for h in answers.heads if reference is not None and h in reference.heads]
        return max((kl_divergence(reference.heads[h], answers.heads[h]) for h in shared if reference), default=math.nan)

    def _own(self, variant: str, answers: Answers) -> dict[str, float]:
        if self.metric is None:
            return {}
        try:
            found = self.metric({head: self._labels(head).labels for head in self.workload.gold}, dict(answers.heads))
            named = found if isinstance(found, Mapping) else {getattr(self.metric, "__name__", "metric"): found}
            return {str(name): float(value) for name, value in named.items()}
        except Exception as error:  # of the user's function, on NaN for example: only its figure is lost
            self.notes.append(f"the metric fails on {variant}: {type(error).__name__}: {one_line(error)}")
            return {}


def find_metric(text: str) -> Metric:
    """The function that `module:function` names, looked for in the current folder first. Raises OnnxfixError."""
    module, colon, name = text.partition(":")
    asked = arg("metric", text)
    if not colon or not module or not name:
        raise OnnxfixError(f"{asked} is not of the form MODULE:FUNCTION")
    try:
        found = getattr(from_here(module), name)
    except Exception as error:  # importing runs the module, which may raise anything
        raise OnnxfixError(f"{asked}: {type(error).__name__}: {one_line(error)}", "check the name") from error
    if not callable(found):
        raise OnnxfixError(f"{asked} is not a function")
    metric: Metric = found
    return metric

"""Metric: what a limit is measured by, as one number of a comparison that is 0 where nothing differs.

Relative L2 error is that of numbers. What users keep of them is less: the direction of an embedding, the class that is
chosen, or how often that is the right one. Real MiniLM and ModernBERT files err by 0.07 in int8 and choose alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.errors import OnnxfixError, arg

Metric = Literal["rel-l2", "cosine", "argmax", "f1"]
# Largest errors that are still written where nobody asked for another: a cosine of 0.997, one row in a hundred that
# chooses otherwise, half a point of F1. Relative L2 error has limits by precision.
LARGEST: Mapping[Metric, float] = {"cosine": 3e-3, "argmax": 1e-2, "f1": 5e-3}


@dataclass(frozen=True)
class Judged:
    """An output by a metric: the error, of how many rows, and the figure of the result; that of the source where labels
    say what is right, else the source is right by definition."""

    output: str
    error: float
    rows: int
    after: float
    before: float | None = None


def metric_error(comparison: Comparison, metric: Metric) -> float:
    """How far off by a metric, 0 for none; infinite where anything became NaN or infinite.

    `cosine` is 1 - cosine of the worst output on the worst feed. Over all feeds, of the worst output: `argmax` is the
    share of rows that choose another class; `f1` is by how much macro F1 against the labels falls, or where there are
    none 1 - macro F1 against what the source chooses. Raises OnnxfixError for outputs without classes.
    """
    if not comparison.sound or metric == "rel-l2":
        return comparison.error
    if metric == "cosine":
        return max((1 - d.cosine for d in comparison.differences if d.cosine == d.cosine), default=0.0)
    return judged(comparison, metric).error


def judged(comparison: Comparison, metric: Metric) -> Judged:
    """The output that errs most, by argmax or F1. Raises OnnxfixError for outputs without classes."""
    from onnxfix.eval.figures.metrics import NO_LABEL

    counts: dict[str, Counter[tuple[int, int, int]]] = {}
    for difference in comparison.differences:
        if difference.choices:
            counts.setdefault(difference.output, Counter()).update(difference.choices)
    if not counts:
        raise OnnxfixError(
            f"{arg('metric', metric)} needs an output with classes on its last axis", f"use {arg('metric', 'rel-l2')}"
        )
    labelled = {
        name: Counter({key: n for key, n in each.items() if key[0] != NO_LABEL}) for name, each in counts.items()
    }
    of_labels = {name: each for name, each in labelled.items() if each}
    every = (of_labels or counts) if metric == "f1" else counts
    return max(
        (_judged(name, each, metric, bool(of_labels)) for name, each in every.items()), key=lambda found: found.error
    )


def _judged(output: str, counts: Counter[tuple[int, int, int]], metric: Metric, labelled: bool) -> Judged:
    from onnxfix.eval.figures.metrics import macro_f1

    keys, times = np.array(list(counts), dtype=np.int64), list(counts.values())
    gold, source, result = np.repeat(keys, times, axis=0).T
    if metric == "argmax":
        same = float(np.mean(source == result))
        return Judged(output, 1 - same, len(gold), same)
    if not labelled:
        same = macro_f1(source, result)
        return Judged(output, 1 - same, len(gold), same)
    before, after = macro_f1(gold, source), macro_f1(gold, result)
    return Judged(output, before - after, len(gold), after, before)

"""Entities: the spans that a row of tags stands for, and F1 over them, as seqeval counts them.

seqeval itself has had no release since 2020 and brings scikit-learn along. Of Ramshaw & Marcus 1995 (IOB), Tjong Kim
Sang & Buchholz 2000 (conlleval, which seqeval follows) and Ratinov & Roth 2009 (BILOU).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .metrics import DRAWS, Classes

OUTSIDE = "O"
Entity = tuple[str, int, int]
"""Type, first and last token."""
Counts = NDArray[np.int64]
"""(rows, 3): entities found rightly, found, and there."""
# An entity goes on from one of the first to one of the second. seqeval knows L and U in its strict modes alone.
_OPENS, _GOES_ON = frozenset("BI"), frozenset("IEL")


def are_tags(names: Sequence[str]) -> bool:
    """Whether class names are tags of spans (O, B-PER, I-PER …) and not classes of single tokens (NOUN, VERB …)."""
    spans = [name for name in names if name != OUTSIDE]
    return bool(spans) and all(name[:1] in "BIESLU" and name[1:2] in ("-", "") for name in spans)


def entities(tags: Sequence[str]) -> Iterator[Entity]:
    """The entities of one row. A tag that goes on with nothing, as I-PER behind O or B-ORG, begins one itself."""
    first, before = 0, OUTSIDE
    for place, tag in enumerate([*tags, OUTSIDE]):
        goes_on = before[0] in _OPENS and tag[0] in _GOES_ON and _type(before) == _type(tag)
        if not goes_on:
            if before != OUTSIDE:
                yield _type(before), first, place - 1
            first = place
        before = tag


def counted(gold: Sequence[Classes], predicted: Sequence[Classes], names: Sequence[str], kind: str = "") -> Counts:
    """Entities of each row, of a `kind` or of all: both hold a class number a token; names are by class number."""
    found = np.zeros((len(gold), 3), dtype=np.int64)
    for row, (one, other) in enumerate(zip(gold, predicted, strict=True)):
        there, said = (
            {e for e in entities([names[number] for number in each]) if not kind or e[0] == kind}
            for each in (one, other)
        )
        found[row] = len(there & said), len(said), len(there)
    return found


def micro_f1(found: Counts) -> float:
    """2·TP / (2·TP + FP + FN) over the entities of all rows; 0 where there are none at all, as seqeval says."""
    right, said, there = found.sum(axis=0)
    return float(2 * right / (said + there)) if said + there else 0.0


def f1_difference(baseline: Counts, found: Counts) -> tuple[float, float]:
    """95 % bootstrap interval of micro F1 less that of the baseline; rows are drawn, the same for both."""
    if np.array_equal(baseline, found) or not len(found):
        return 0.0, 0.0
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(found), np.full(len(found), 1 / len(found)), DRAWS)
    draws = [np.divide(2 * right, said + there, out=np.zeros(DRAWS), where=said + there > 0)
             for right, said, there in ((weights @ each).T for each in (found, baseline))]  # fmt: skip
    low, high = np.percentile(draws[0] - draws[1], [2.5, 97.5])
    return float(low), float(high)


def kinds(names: Sequence[str]) -> list[str]:
    """Types of entities, in the order of the class names."""
    return list(dict.fromkeys(_type(name) for name in names if name != OUTSIDE))


def _type(tag: str) -> str:
    return tag[1:].removeprefix("-") or "_"

"""Comparison: two models run on the same feeds, with the difference of every output and a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class OutputDifference:
    """One output on one feed. `rel_l2` is ||candidate - reference|| / ||reference|| over finite reference entries."""

    feed: str
    output: str
    shape: tuple[int, ...]
    rel_l2: float
    max_abs: float
    identical: bool
    new_nonfinite: int
    """Entries that are finite in the reference and NaN or infinite in the candidate."""
    compared: int
    """Entries that are finite in both, which the figures are over."""
    shape_mismatch: str = ""
    """Says both shapes when they differ; then the other figures are NaN."""
    cosine: float = math.nan
    """Of the angle between both outputs; NaN when one is all zeros."""
    nan: int = 0
    """NaN entries of the candidate."""
    argmax_agreement: float | None = None
    """Share of rows (last axis) whose largest entry is the same one; None for outputs without rows of two or more."""
    macro_f1: float | None = None
    """Mean F1 of the candidate's choices over the classes that the reference chooses; None as above."""
    draws: int = 0
    """Of so many small feeds together, `feed` being the worst; `rel_l2` is the largest of theirs, of integers the root
    mean square."""
    choices: Mapping[tuple[int, int, int], int] = field(default_factory=dict)
    """Rows by (label, class that the reference chooses, class that the candidate does), -1 for a row without a label;
    empty for outputs as above."""

    def as_dict(self) -> dict[str, object]:
        return {
            "feed": self.feed,
            "output": self.output,
            "shape": list(self.shape),
            "rel_l2": self.rel_l2,
            "max_abs": self.max_abs,
            "identical": self.identical,
            "new_nonfinite": self.new_nonfinite,
            "compared": self.compared,
            "shape_mismatch": self.shape_mismatch,
            "cosine": None if math.isnan(self.cosine) else self.cosine,
            "nan": self.nan,
            "argmax_agreement": self.argmax_agreement,
            "macro_f1": self.macro_f1,
            "draws": self.draws,
        }


@dataclass(frozen=True)
class Comparison:
    """All differences between a reference and a candidate, and how both were run (`how`)."""

    reference: str
    candidate: str
    differences: tuple[OutputDifference, ...]
    how: str = ""

    @property
    def identical(self) -> bool:
        return all(d.identical for d in self.differences)

    @property
    def rel_l2(self) -> float:
        """The worst relative L2 error of any output on any feed, or over all draws; NaN when shapes differ."""
        worst = 0.0
        for d in self.differences:
            if d.rel_l2 != d.rel_l2:
                return d.rel_l2
            worst = max(worst, d.rel_l2)
        return worst

    @property
    def error(self) -> float:
        """`rel_l2`, infinite where anything became NaN or infinite or shapes differ: one number to compare by."""
        return self.rel_l2 if self.sound else math.inf

    @property
    def worst(self) -> OutputDifference:
        """The difference to speak of: a mismatch of shapes first, then lost values, then the largest error."""
        return max(self.differences, key=lambda d: (bool(d.shape_mismatch), d.new_nonfinite, d.rel_l2))

    @property
    def sound(self) -> bool:
        """No shape mismatch and no value that became NaN or infinite."""
        return all(not d.shape_mismatch and d.new_nonfinite == 0 for d in self.differences)

    @property
    def never_compared(self) -> tuple[str, ...]:
        """Outputs without a finite entry on any feed: nothing is known about them."""
        counts: dict[str, int] = {}
        for d in self.differences:
            counts[d.output] = counts.get(d.output, 0) + d.compared
        return tuple(name for name, count in counts.items() if not count)

    def within(self, rel_l2: float) -> bool:
        return self.sound and self.rel_l2 <= rel_l2

    def as_dict(self) -> dict[str, object]:
        return {
            "reference": self.reference,
            "candidate": self.candidate,
            "how": self.how,
            "identical": self.identical,
            "rel_l2": self.rel_l2,
            "sound": self.sound,
            "differences": [d.as_dict() for d in self.differences],
        }

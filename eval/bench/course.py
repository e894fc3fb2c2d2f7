"""Course: how a bench is run, as its caller asks for it: what is timed how often, where, and what is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from onnxfix.eval.inputs.point import Point
from onnxfix.nouns.errors import Voice, python

from .worker import Settings

# Small, since an interrupted bench has to repeat the group that it was in.
AT_ONCE = 4


@dataclass(frozen=True)
class Course:
    """What is measured is kept in `folder`, and taken up from there with `resume`; without one it is not kept."""

    points: tuple[Point, ...] = (Point(16),)
    """The rows of a report are about the first, in whose batches answers come."""
    rounds: int = 5
    provider: Literal["cpu", "cuda"] = "cpu"
    threads: int = 0
    """CPU threads a runtime may use; 0 is the runtime's own choice."""
    baseline: str = ""
    """The variant that times are compared with; empty: torch bf16, else the first that works."""
    at_once: int = AT_ONCE
    """Variants loaded side by side, beside the baseline."""
    folder: Path | None = None
    resume: bool = False
    voice: Voice = python
    """Says why a variant fails."""

    @property
    def whole(self) -> bool:
        """Whether a time is that of all timed batches together. Where padded and sorted ones stand in one table, the
        median of the sorted ones would be that of rows of middling length, and not what all rows take."""
        return len({point.batching for point in self.points}) > 1

    @property
    def settings(self) -> Settings:
        return Settings(self.provider, self.threads, self.voice)

"""Trial: one variant under measurement, and all that is known of it so far, as plain data that a file can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxfix.eval.figures.latency import Seconds
from onnxfix.eval.figures.metrics import Classes
from onnxfix.eval.inputs.point import Point

from .variant import Variant
from .worker import Memory, Opened


@dataclass(frozen=True)
class Difference:
    """One output against the reference's, over all rows of the workload (see metrics.LogitDifference)."""

    rel_l2: float
    max_abs: float
    nonfinite_rows: int


@dataclass(frozen=True)
class Answers:
    """`heads`: output → logits float32 (rows, classes); `differences`: output → difference from the reference."""

    reference: str
    """Name of the reference."""
    heads: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    differences: Mapping[str, Difference] = field(default_factory=dict)
    reference_fingerprint: str = ""

    def predictions(self) -> dict[str, Classes]:
        """Head → predicted class numbers, shape (rows,)."""
        return {head: np.argmax(logits, axis=1).astype(np.int64) for head, logits in self.heads.items()}


@dataclass(frozen=True)
class Timing:
    """Seconds of the variant and of the baseline on the same batches of the same rounds: each (rounds, batches)."""

    point: Point
    rows: tuple[int, ...]
    """Samples of each batch."""
    seconds: Seconds
    baseline: Seconds | None = None
    joules: float | None = None
    """A sample, where the device counts energy."""
    baseline_fingerprint: str = ""

    def whole(self) -> Timing:
        """With all batches of a round as one."""
        baseline = self.baseline.sum(axis=1, keepdims=True) if self.baseline is not None else None
        return replace(self, rows=(sum(self.rows),), seconds=self.seconds.sum(axis=1, keepdims=True), baseline=baseline)


@dataclass(eq=False)
class Trial:
    """Once `failure` is set (one line) nothing more is asked of the variant."""

    variant: Variant
    failure: str = ""
    opened: Opened | None = None
    memory: Memory | None = None
    answers: Answers | None = None
    timings: dict[Point, Timing] = field(default_factory=dict)
    missing: dict[Point, str] = field(default_factory=dict)
    """Points other than the first that the variant failed at, with the reason."""

    @property
    def name(self) -> str:
        return self.variant.name

    def fail(self, reason: str) -> None:
        """Record the reason; times of a variant that fails mean nothing."""
        self.failure = reason
        self.timings = {}

    def forget(self) -> None:
        """Be as before the measurement."""
        self.failure = ""
        self.opened = self.memory = self.answers = None
        self.timings, self.missing = {}, {}

    def as_dict(self) -> dict[str, Any]:
        """All but the logits."""
        return {
            "failure": self.failure,
            "opened": asdict(self.opened) if self.opened else None,
            "memory": asdict(self.memory) if self.memory else None,
            "reference": self.answers.reference if self.answers else None,
            "against": self.answers.reference_fingerprint if self.answers else "",
            "differences": {n: asdict(d) for n, d in self.answers.differences.items()} if self.answers else {},
            "timings": [_timing_as_dict(timing) for timing in self.timings.values()],
            "missing": [[asdict(point), reason] for point, reason in self.missing.items()],
        }

    def restore(self, stored: Mapping[str, Any], heads: Mapping[str, NDArray[np.float32]]) -> None:
        """Be what `as_dict` described."""
        self.failure = stored["failure"]
        self.opened = Opened(**stored["opened"]) if stored["opened"] else None
        self.memory = Memory(**stored["memory"]) if stored["memory"] else None
        if stored["reference"] is not None:
            differences = {n: Difference(**d) for n, d in stored["differences"].items()}
            self.answers = Answers(stored["reference"], heads, differences, stored["against"])
        timings = [_timing(each) for each in stored["timings"]]
        self.timings = {timing.point: timing for timing in timings}
        self.missing = {Point(**point): reason for point, reason in stored["missing"]}


def _timing_as_dict(timing: Timing) -> dict[str, Any]:
    return {
        "point": asdict(timing.point),
        "rows": list(timing.rows),
        "seconds": timing.seconds.tolist(),
        "yardstick": timing.baseline.tolist() if timing.baseline is not None else None,
        "joules": timing.joules,
        "beside": timing.baseline_fingerprint,
    }


def _timing(stored: Mapping[str, Any]) -> Timing:
    baseline = stored["yardstick"]
    return Timing(
        Point(**stored["point"]),
        tuple(stored["rows"]),
        np.array(stored["seconds"]),
        np.array(baseline) if baseline is not None else None,
        stored["joules"],
        stored["beside"],
    )

"""Measure variants side by side: load, memory, and latency in interleaved rounds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .variant import Variant
from .worker import Memory, Opened, Settings, VariantFailure, Worker
from .workload import Batch

if TYPE_CHECKING:
    from .quality import Quality

TIMED_BATCHES = 8  # a round; the rest of the workload is for the metrics only
Progress = Callable[[str], None]


@dataclass
class Trial:
    """One variant under measurement. Once `failure` is set (one line) nothing more is asked of it."""

    variant: Variant
    worker: Worker | None = None
    failure: str = ""
    opened: Opened | None = None
    memory: Memory | None = None
    seconds: list[list[float]] = field(default_factory=list)
    """Seconds a batch, by round and timed batch."""
    quality: Quality | None = None

    @property
    def alive(self) -> bool:
        return self.worker is not None and not self.failure

    def fail(self, reason: str) -> None:
        """Record the reason and end the process."""
        self.failure = reason
        self.seconds = []
        if self.worker is not None:
            self.worker.close()
            self.worker = None


@dataclass(frozen=True)
class Latency:
    """Milliseconds a sample over all timed batches of all rounds: a batch's time divided by its rows."""

    median_ms: float
    p95_ms: float
    samples_per_s: float
    """All timed samples by all timed seconds."""
    round_ms: tuple[float, ...]
    """The median of each round; rounds of two variants with the same index ran next to each other."""


@contextlib.contextmanager
def open_trials(
    variants: Sequence[Variant], batches: Sequence[Batch], settings: Settings, progress: Progress
) -> Iterator[list[Trial]]:
    """Load every variant in its own process, one after the other, warm it up and read its memory.

    The processes end with the block. A variant that fails has `failure` set.
    """
    trials = [Trial(variant) for variant in variants]
    try:
        _start(trials, settings)
        for trial in trials:
            progress(f"load {trial.variant.name}")
            _open(trial, batches)
        yield trials
    finally:
        for trial in trials:
            if trial.worker is not None:
                trial.worker.close()


def timed_rounds(trials: Sequence[Trial], batches: Sequence[Batch], rounds: int, progress: Progress) -> None:
    """Time every live trial once a round, the order rotated by one each round, so that drift hits all alike."""
    arrays = [batch.arrays for batch in batches]
    for number in range(rounds):
        first = number % len(trials) if trials else 0
        for trial in [*trials[first:], *trials[:first]]:
            progress(f"round {number + 1} of {rounds}, {trial.variant.name}")
            if not trial.alive or trial.worker is None:
                continue
            try:
                trial.seconds.append(trial.worker.time(arrays))
            except VariantFailure as failure:
                trial.fail(f"does not run: {failure}")


def timed_batches(batches: Sequence[Batch]) -> list[Batch]:
    """At most 8 batches spread evenly over the workload; a short last batch only where there is no full one."""
    full = [batch for batch in batches if batch.rows == batches[0].rows] or list(batches)
    chosen = np.linspace(0, len(full) - 1, min(TIMED_BATCHES, len(full))).round().astype(int)
    return [full[i] for i in chosen]


def latency(seconds: Sequence[Sequence[float]], batches: Sequence[Batch]) -> Latency:
    """Summarise the seconds of a trial, by round and batch, over the batches it was timed on."""
    taken = np.asarray(seconds, dtype=np.float64)
    rows = np.array([batch.rows for batch in batches], dtype=np.float64)
    per_sample = taken * 1000 / rows
    return Latency(
        median_ms=float(np.median(per_sample)),
        p95_ms=float(np.percentile(per_sample, 95)),
        samples_per_s=float(rows.sum() * len(taken) / taken.sum()),
        round_ms=tuple(float(ms) for ms in np.median(per_sample, axis=1)),
    )


def _start(trials: Sequence[Trial], settings: Settings) -> None:
    """All processes at once, and wait for all: imports take seconds each and must not run beside a timed load."""
    for step in ("start", "ready"):
        for trial in trials:
            try:
                if step == "start":
                    trial.worker = Worker(trial.variant, settings)
                elif trial.worker is not None:
                    trial.worker.ready()
            except VariantFailure as failure:
                trial.fail(f"does not load: {failure}")


def _open(trial: Trial, batches: Sequence[Batch]) -> None:
    if trial.worker is None:
        return
    try:
        trial.opened = trial.worker.open()
    except VariantFailure as failure:
        trial.fail(f"does not load: {failure}")
        return
    largest = max(batches, key=lambda batch: batch.entries)
    try:
        for batch in (largest, *timed_batches(batches)[:2]):
            trial.worker.run(batch.arrays)
        trial.memory = trial.worker.memory()
    except VariantFailure as failure:
        trial.fail(f"does not run: {failure}")

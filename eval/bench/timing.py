"""Timing: variants in turn, round by round, in groups that fit in memory together with the baseline."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from onnxfix.eval.inputs.point import Point
from onnxfix.eval.inputs.workload import Batch

from .course import Course
from .progress import Progress, stretch
from .store import Store
from .trial import Timing, Trial
from .worker import Settings, VariantFailure, Worker

# Of the memory that is free; variants grow while they run.
SHARE_OF_MEMORY = 0.7
Batches = Mapping[Point, Sequence[Batch]]


@dataclass
class _Runner:
    """A trial in a group, its open process and its seconds by point, a row a round."""

    trial: Trial
    worker: Worker | None = None
    failure: str = ""
    seconds: dict[Point, list[list[float]]] = field(default_factory=dict)
    joules: dict[Point, list[float]] = field(default_factory=dict)
    missing: dict[Point, str] = field(default_factory=dict)

    def fail(self, reason: str) -> None:
        self.failure = self.failure or reason
        self.close()

    def close(self) -> None:
        if self.worker is not None:
            self.worker.close()
            self.worker = None


def time_all(
    trials: Sequence[Trial], batches: Batches, course: Course, baseline: str, store: Store, progress: Progress
) -> None:
    """Time every sound trial at every point; what the store knows already is not timed again.

    The variants of a group are loaded side by side, and the order rotates by one each round, so that drift hits all
    alike. The baseline runs in every group, so that ratios to it are of the same rounds. A variant that fails at the
    first point fails; at another, that point is missing.
    """
    base = next((t for t in trials if t.name == baseline), None)
    fingerprint = base.variant.fingerprint() if base is not None else ""
    waiting = []
    for trial in trials:
        if any(timing.baseline_fingerprint != fingerprint for timing in trial.timings.values()):
            trial.timings = {}  # ratios to another baseline than this one
        if trial.failure or trial.timings:
            with stretch(progress, course.rounds, trial.name):
                continue
        waiting.append(trial)
    for group in groups([t for t in waiting if t is not base], base, base in waiting, course.at_once):
        with stretch(progress, course.rounds * len([t for t in group if t in waiting]), "timed") as tick:
            # in all groups but its first the baseline runs for the others alone: a copy of its trial takes the figures
            runners = [_Runner(t if t in waiting else Trial(t.variant), missing={**t.missing}) for t in group]
            _time_group(runners, batches, course, tick)
        _record(runners, baseline, batches, course.rounds, fingerprint)
        for trial in group:
            if trial in waiting:
                store.save(trial)
        waiting = [t for t in waiting if t not in group]


def groups(trials: Sequence[Trial], base: Trial | None, alone: bool, at_once: int) -> Iterator[list[Trial]]:
    """Trials in the order given, `at_once` and no more than memory holds, with the baseline in front of each group.

    `alone`: the baseline is timed even where there is nobody else.
    """
    room, room_vram = _free_memory(), _free_vram(trials)
    first = [base] if base is not None and not base.failure else []
    group: list[Trial] = []
    for trial in trials:
        wanted = [*first, *group, trial]
        full = sum(map(_rss, wanted)) > room or (room_vram > 0 and sum(map(_vram, wanted)) > room_vram)
        if group and (len(group) == at_once or full):
            yield [*first, *group]
            group = []
        group.append(trial)
    if group or (alone and first):
        yield [*first, *group]


def _time_group(runners: Sequence[_Runner], batches: Batches, course: Course, tick: Progress) -> None:
    try:
        _open(runners, course.settings)
        for point, timed in batches.items():
            for runner in runners:
                with _caught(runner, point, next(iter(batches))) as worker:
                    if worker is not None and point not in runner.missing:
                        _warm(worker, timed)
            for number in range(course.rounds):
                _round(runners, point, timed, number, next(iter(batches)), tick)
    finally:
        for runner in runners:
            runner.close()


def _warm(worker: Worker, timed: Sequence[Batch]) -> None:
    """The first batch until its time has settled, and one of each other shape: runtimes compile and allocate for it."""
    worker.warm(timed[0].arrays)
    shapes = {_shapes(timed[0])}
    for batch in timed[1:]:
        if (found := _shapes(batch)) not in shapes:
            shapes.add(found)
            worker.time([batch.arrays])


def _shapes(batch: Batch) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape for array in batch.arrays.values())


def _open(runners: Sequence[_Runner], settings: Settings) -> None:
    """All processes at once, and wait for all: imports take seconds each and must not run beside a timed run."""
    for step in ("start", "ready", "open"):
        for runner in runners:
            try:
                if step == "start":
                    runner.worker = Worker(runner.trial.variant, settings)
                elif runner.worker is not None:
                    runner.worker.ready() if step == "ready" else runner.worker.open()
            except VariantFailure as failure:
                runner.fail(f"does not load: {failure}")


def _round(
    runners: Sequence[_Runner], point: Point, timed: Sequence[Batch], number: int, first: Point, tick: Progress
) -> None:
    start = number % len(runners)
    for runner in [*runners[start:], *runners[:start]]:
        with _caught(runner, point, first) as worker:
            if worker is None or point in runner.missing:
                continue
            answer = worker.time([batch.arrays for batch in timed])
            runner.seconds.setdefault(point, []).append(answer.seconds)
            if answer.joules is not None:
                runner.joules.setdefault(point, []).append(answer.joules)
        if point == first:
            tick(f"round {number + 1}, {runner.trial.name}")


@contextlib.contextmanager
def _caught(runner: _Runner, point: Point, first: Point) -> Iterator[Worker | None]:
    """The runner's process; what goes wrong in the block ends the variant, or but this point where it still lives."""
    try:
        yield runner.worker
    except VariantFailure as failure:
        if point != first:
            runner.missing[point] = str(failure)
            runner.seconds.pop(point, None)
        if point == first or not runner.worker or not runner.worker.alive():
            runner.fail(f"does not run: {failure}")


def _record(runners: Sequence[_Runner], baseline: str, batches: Batches, rounds: int, fingerprint: str) -> None:
    base = next((runner for runner in runners if runner.trial.name == baseline), None)
    first = next(iter(batches))
    for runner in runners:
        trial = runner.trial
        if runner.failure and len(runner.seconds.get(first, ())) < rounds:
            trial.fail(runner.failure)
            continue
        trial.missing |= {p: runner.failure for p in batches if runner.failure} | runner.missing
        for point, seconds in runner.seconds.items():
            rows = tuple(batch.rows for batch in batches[point])
            theirs = base.seconds.get(point) if base is not None else None
            whole = theirs is not None and len(theirs) == len(seconds)
            if len(seconds) < rounds:
                continue
            spent = runner.joules.get(point)
            trial.timings[point] = Timing(
                point,
                rows,
                np.array(seconds),
                np.array(theirs) if whole else None,
                sum(spent) / (sum(rows) * len(seconds)) if spent else None,
                fingerprint,
            )
            trial.missing.pop(point, None)


def _rss(trial: Trial) -> int:
    return trial.memory.base_rss + max(trial.memory.peak_rss, trial.memory.largest_rss) if trial.memory else 0


def _vram(trial: Trial) -> int:
    return trial.memory.vram or 0 if trial.memory else 0


def _free_vram(trials: Sequence[Trial]) -> float:
    """Bytes of the GPU that a group may take; 0 where nobody measured them."""
    free = [t.memory.vram_free for t in trials if t.memory and t.memory.vram_free is not None]
    return SHARE_OF_MEMORY * min(free, default=0)


def _free_memory() -> float:
    """Bytes of host memory that a group may take."""
    found = Path("/proc/meminfo")
    lines = found.read_text().splitlines() if found.exists() else []
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 8 << 30)
    return SHARE_OF_MEMORY * free

"""Bench: run variants on one workload and say in figures and words which is worth using."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxfix.eval.figures.latency import Interval, latency, ratio, round_ratios
from onnxfix.eval.figures.row import BenchPoint, BenchRow, Times
from onnxfix.eval.figures.verdict import THRESHOLDS, fastest, judged
from onnxfix.eval.inputs.point import Point, timed_batches
from onnxfix.eval.inputs.workload import Workload, with_defaults
from onnxfix.eval.run.machine import machine
from onnxfix.nouns.errors import OnnxfixError, arg, spoken
from onnxfix.nouns.process.scratch import Scratch
from onnxfix.render.words import listed

from .course import AT_ONCE, Course
from .probe import Probe
from .progress import Progress
from .quality import Judge, Metric
from .store import Store, settings
from .timing import time_all
from .trial import Timing, Trial
from .variant import MEGABYTE, Variant

SCHEMA = "onnxfix.bench/2"
ONE_ROUND = "one round says nothing of how times vary: none is called faster or slower, two rounds or more can"
__all__ = ["SCHEMA", "BenchReport", "Course", "Method", "Opinion", "Remarks", "Variant", "run_bench", "step_count"]


@dataclass(frozen=True)
class Method:
    """How the figures were taken."""

    workload: str
    batch_size: int
    rounds: int
    timed_batches: int
    provider: str
    threads: int
    """CPU threads a runtime may use; 0 is the runtime's own choice."""
    baseline: str
    """The variant that times, F1s and classes are compared with: the one named, torch bf16, the first that works."""
    reference: str
    """The variant that logits and F1 losses are against: torch fp32, else the first that works."""
    points: tuple[Point, ...] = ()
    at_once: int = AT_ONCE
    """Variants loaded side by side, beside the baseline."""
    batchings: tuple[str, ...] = ()
    """Ways of batching that rows are of; none where they have no lengths of their own."""


@dataclass(frozen=True)
class Opinion:
    """What `onnxfix diagnose` says of a variant in a few words: for the bench's own provider, and for another."""

    defect: str = ""
    elsewhere: str = ""


@dataclass(frozen=True)
class Remarks:
    """What is said of variants beside what was measured. `opinions` by name; `metric`: the task's own, beside F1."""

    metric: Metric | None = None
    opinions: Mapping[str, Opinion] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BenchReport:
    """Rows in the order the variants were given, one each, and those of another way of batching behind them; `points`:
    one each at every batch size and length. Verdicts are among rows of one way of batching."""

    rows: tuple[BenchRow, ...]
    method: Method
    machine: dict[str, str]
    notes: tuple[str, ...] = ()
    points: tuple[BenchPoint, ...] = ()
    classes: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    diagnoses: Mapping[str, Any] = field(default_factory=dict)
    profiles: Mapping[str, Any] = field(default_factory=dict)
    regressions: Sequence[Mapping[str, Any]] | None = None

    @property
    def heads(self) -> list[str]:
        """Heads with an F1 in any row, in output order."""
        return list(dict.fromkeys(head for row in self.rows for head in row.heads))

    @property
    def fastest(self) -> list[BenchRow]:
        """The fastest row that may be deployed, and behind it those that nothing shows to be slower; of the first way
        of batching."""
        return next(iter(self.by_batching.values()), [])

    @property
    def by_batching(self) -> dict[str, list[BenchRow]]:
        """`fastest` of each way of batching."""
        ways = dict.fromkeys(row.batching for row in self.rows)
        return {way: fastest([row for row in self.rows if row.batching == way]) for way in ways}

    @property
    def best(self) -> BenchRow | None:
        """The first of `fastest`."""
        return next(iter(self.fastest), None)

    def as_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "best": self.best.variant if self.best else None,
            "fastest": [row.variant for row in self.fastest],
            "by_batching": {way: [row.variant for row in rows] for way, rows in self.by_batching.items()},
            "method": asdict(self.method),
            "thresholds": asdict(THRESHOLDS),
            "machine": self.machine,
            "notes": list(self.notes),
            "heads": self.heads,
            "rows": [row.as_dict() for row in self.rows],
            "points": [point.as_dict() for point in self.points],
            "classes": {head: list(entries) for head, entries in self.classes.items()},
            "diagnoses": dict(self.diagnoses),
            "profiles": dict(self.profiles),
            "regressions": list(self.regressions) if self.regressions is not None else None,
        }


def run_bench(
    variants: Sequence[Variant],
    workload: Workload,
    course: Course = Course(),  # noqa: B008  frozen
    remarks: Remarks = Remarks(),
    progress: Progress = lambda step: None,
) -> BenchReport:
    """Measure every variant on the workload. A variant that fails is a row with its reason.

    Each is first run alone for its memory and answers, then timed in turn with others, beside the baseline. `progress`
    is called `step_count` times. Raises OnnxfixError for two variants of one name, no variant, no row, an unknown
    baseline.
    """
    _check(variants, workload, course)
    workload = with_defaults(workload, {name for variant in variants for name in variant.inputs()})
    timed = {point: timed_batches(workload, point, whole=course.whole) for point in course.points}
    trials = [Trial(variant) for variant in variants]
    with _kept(course.folder) as place:
        store = Store(place, settings(workload, course), resume=course.resume)
        Probe(workload, workload.batches(course.points[0].batch), timed, course.settings).run(trials, store, progress)
        baseline = _baseline(trials, course.baseline)
        time_all(trials, timed, course, baseline, store, progress)
        while baseline != (another := _baseline(trials, course.baseline)):
            # the baseline failed while it was timed: another one takes its place, and all ratios are taken anew
            baseline = another
            time_all(trials, timed, course, baseline, store, lambda step: None)
    return _report(trials, workload, course, baseline, remarks, len(timed[course.points[0]]))


def _report(
    trials: Sequence[Trial], workload: Workload, course: Course, baseline: str, remarks: Remarks, count: int
) -> BenchReport:
    """`count`: timed batches of the first point."""
    reference = next((t.answers.reference for t in trials if t.answers), "")
    answers = {t.name: t.answers for t in trials if t.answers and not t.failure}
    judge = Judge(workload, answers.get(baseline), answers.get(reference), remarks.metric)
    pace = {point: _pace(trials, point, course.whole) for point in course.points}
    main, opinions = course.points[0], remarks.opinions
    kinds = [_kind(trial, judge, opinions.get(trial.name, Opinion())) for trial in trials]
    rows: list[BenchRow] = []
    for point in course.points:  # the first, and the same in another way of batching
        if replace(point, batching=main.batching) == main:
            timed = [_row(kind, trial, point, pace, course) for kind, trial in zip(kinds, trials, strict=True)]
            way = _way(point, workload)
            rows += judged([replace(row, batching=way) for row in timed], baseline, reference)
    ways = tuple(dict.fromkeys(row.batching for row in rows if row.batching))
    method = Method(
        workload.description, main.batch, course.rounds, count, course.provider, course.threads, baseline, reference,
        course.points, course.at_once, ways,
    )  # fmt: skip
    return BenchReport(
        tuple(rows),
        method,
        machine(course.provider),
        (*remarks.notes, *judge.notes, *([ONE_ROUND] if course.rounds == 1 else []), *_unlike(rows, course)),
        tuple(
            _point(trial, point, pace[point], course, _way(point, workload))
            for trial in trials
            for point in course.points
            if not trial.failure
        ),
        judge.classes(answers),
    )


def step_count(variants: Sequence[Variant], workload: Workload, course: Course) -> int:
    """How often `run_bench` reports progress: for each variant a load, each batch of answers and each round."""
    return len(variants) * (1 + len(workload.batches(course.points[0].batch)) + course.rounds)


@contextlib.contextmanager
def _kept(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with Scratch() as temporary:
        yield temporary


def _unlike(rows: Sequence[BenchRow], course: Course) -> list[str]:
    """That some rows compute padding and others do not."""
    ways = {row.packed for row in rows if row.measured and row.batching == "padded"}
    if len(ways) < 2 or course.whole:
        return []
    names = listed([row.variant for row in rows if row.packed])
    said = f"real tokens alone are computed by {names}, padding too by the others: {arg('batching', 'both')} has rows"
    return [spoken(f"{said} sorted by length as well", course.voice)]


def _way(point: Point, workload: Workload) -> str:
    return "" if workload.fixed or point.length is not None else point.batching


def _check(variants: Sequence[Variant], workload: Workload, course: Course) -> None:
    names = [variant.name for variant in variants]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise OnnxfixError(f"two variants are named '{twice}'", "a report cannot tell them apart: rename one")
    if not names:
        raise OnnxfixError("nothing to bench", "name an ONNX file")
    if course.rounds < 1:
        raise OnnxfixError(f"{course.rounds} rounds measure nothing", f"give {arg('rounds')} a number from 1")
    if course.baseline and course.baseline not in names:
        raise OnnxfixError(f"no variant is named '{course.baseline}'", f"the names are: {', '.join(names)}")
    if workload.fixed and any(point.batching == "sorted" for point in course.points):
        raise OnnxfixError(
            f"{arg('batching')} cannot sort these inputs: they are batches as they are",
            "leave it out, or use a checkpoint with a tokenizer",
        )
    if workload.fixed and len({point.batch for point in course.points}) > 1:
        raise OnnxfixError(
            f"{arg('batch')} cannot cut these inputs: they are batches as they are",
            "give it one number, or use a checkpoint with a tokenizer",
        )


def _baseline(trials: Sequence[Trial], named: str) -> str:
    """The one named where it works, torch bf16 where that works, else the first that works, else empty."""
    live = [trial.variant for trial in trials if not trial.failure]
    wanted = [*(v for v in live if v.name == named), *(v for v in live if v.engine.is_baseline), *live]
    return next((v.name for v in wanted), "")


def _pace(trials: Sequence[Trial], point: Point, whole: bool) -> float:
    """Median milliseconds a sample of the baseline over all groups; NaN where it ran in none."""
    found: dict[bytes, Any] = {}
    for timing in (trial.timings.get(point) for trial in trials):
        if timing is not None and timing.baseline is not None:
            timing = timing.whole() if whole else timing
            assert timing.baseline is not None
            found[timing.baseline.tobytes()] = timing.baseline * 1000 / np.asarray(timing.rows)
    return float(np.median(np.concatenate(list(found.values())))) if found else math.nan


def _kind(trial: Trial, judge: Judge, opinion: Opinion) -> BenchRow:
    """All that a row says but its times."""
    variant = trial.variant
    size = variant.file_bytes() or (trial.opened.weights_bytes if trial.opened else None)
    row = BenchRow(
        variant=variant.name,
        kind=variant.engine.kind,
        dtype=variant.engine.dtype,
        exporter=variant.exporter,
        verified=variant.verified,
        note=variant.note,
        packed=variant.packs(),
        made_by=variant.made_by,
        failure=trial.failure,
        defect=opinion.defect,
        elsewhere=opinion.elsewhere,
        size_mb=size / MEGABYTE if size else math.nan,
        load_s=trial.opened.load_s if trial.opened else math.nan,
    )
    if trial.failure or trial.memory is None or trial.answers is None:
        return row
    vram = trial.memory.vram
    return replace(
        row,
        memory_mb=trial.memory.peak_rss / MEGABYTE,
        vram_mb=vram / MEGABYTE if vram is not None else math.nan,
        **judge.figures(trial.name, trial.answers),
    )


def _row(kind: BenchRow, trial: Trial, point: Point, pace: Mapping[Point, float], course: Course) -> BenchRow:
    timing = trial.timings.get(point)
    if trial.failure or timing is None:
        return replace(kind, failure=kind.failure or trial.missing.get(point, ""))
    counted = timing.whole() if course.whole else timing
    return replace(
        kind,
        **vars(_times(timing, counted, pace[point])),
        round_ms=latency(counted.seconds, counted.rows).round_ms,
        round_ratios=round_ratios(counted.seconds, counted.baseline) if counted.baseline is not None else (),
        joules_per_sample=timing.joules if timing.joules is not None else math.nan,
    )


def _point(trial: Trial, point: Point, pace: float, course: Course, way: str) -> BenchPoint:
    timing = trial.timings.get(point)
    if timing is None:
        why = trial.missing.get(point, "not measured")
        return BenchPoint(trial.name, point.batch, point.length, way, failure=why)
    times = _times(timing, timing.whole() if course.whole else timing, pace)
    return BenchPoint(trial.name, point.batch, point.length, way, **vars(times))


def _times(batches: Timing, timing: Timing, pace: float) -> Times:
    """Times as if all groups had run at once: ratios to the baseline times `pace`, its own median over all groups.

    The machine is not as fast in one group as in the next; what slows a group slows the baseline in it as well.
    Percentiles are of single `batches`, all else is of `timing`, which may have a round's batches as one.
    """
    measured, single = latency(timing.seconds, timing.rows), latency(batches.seconds, batches.rows)
    median, compared, times = measured.median, Interval(), 1.0
    if timing.baseline is not None:
        itself = np.array_equal(timing.seconds, timing.baseline)
        compared = Interval(1.0, 1.0, 1.0) if itself else ratio(timing.seconds, timing.baseline)
        times = compared.value * pace / median.value
    return Times(
        ms_per_sample=median.value * times,
        ms_low=median.low * times,
        ms_high=median.high * times,
        ms_p95=single.p95_ms * times,
        ms_p99=single.p99_ms * times,
        samples_per_s=measured.samples_per_s / times,
        ratio=compared.value,
        ratio_low=compared.low,
        ratio_high=compared.high,
    )

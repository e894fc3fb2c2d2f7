"""Bench: run variants on one workload and say in figures and words which is worth using."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from onnxfix.errors import OnnxfixError

from .bench_row import BenchRow, HeadFigures
from .machine import machine
from .measure import Progress, Trial, latency, open_trials, timed_batches, timed_rounds
from .metrics import accuracy, agreement, macro_f1
from .quality import Quality, measure_quality
from .variant import MEGABYTE, Variant
from .verdict import THRESHOLDS, verdict
from .worker import Settings
from .workload import Batch, Workload

SCHEMA = "onnxfix.bench/1"
Yardsticks = tuple[Quality | None, Quality | None]
"""Baseline and reference."""
__all__ = ["SCHEMA", "BenchReport", "Method", "Variant", "run_bench", "step_count"]


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
    """The variant that verdicts and agreement compare with: torch bf16, else the first that works."""
    reference: str
    """The variant that logits and F1 losses are against: torch fp32, else the first that works."""


@dataclass(frozen=True)
class BenchReport:
    """Rows in the order the variants were given, one each."""

    rows: tuple[BenchRow, ...]
    method: Method
    machine: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def heads(self) -> list[str]:
        """Heads with an F1 in any row, in output order."""
        return list(dict.fromkeys(head for row in self.rows for head in row.heads))

    def as_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "method": asdict(self.method),
            "thresholds": asdict(THRESHOLDS),
            "machine": self.machine,
            "notes": list(self.notes),
            "rows": [row.as_dict() for row in self.rows],
        }


def run_bench(
    variants: Sequence[Variant],
    workload: Workload,
    *,
    rounds: int = 5,
    batch_size: int = 16,
    provider: Literal["cpu", "cuda"] = "cpu",
    threads: int = 0,
    notes: Sequence[str] = (),
    progress: Progress | None = None,
) -> BenchReport:
    """Measure every variant on the workload. A variant that fails is a row with its reason.

    All variants are loaded at the same time, each in its own process, so memory must hold them together. `progress` is
    called `step_count` times. Raises OnnxfixError for two variants of one name, no variant or no row.
    """
    _check(variants, rounds)
    advance = progress or (lambda step: None)
    batches = workload.batches(batch_size)
    timed = timed_batches(batches)
    with open_trials(variants, batches, Settings(provider, threads), advance) as trials:
        measure_quality(trials, workload, batches, advance)
        timed_rounds(trials, timed, rounds, advance)
    baseline, reference = _baseline(trials), _reference(trials)
    qualities = {t.variant.name: t.quality for t in trials}
    yardsticks = qualities.get(baseline), qualities.get(reference)
    rows = [_row(trial, workload, timed, yardsticks) for trial in trials]
    rows = [replace(row, result=verdict(row, rows, baseline, reference)) for row in rows]
    method = Method(workload.description, batch_size, rounds, len(timed), provider, threads, baseline, reference)
    return BenchReport(tuple(rows), method, machine(provider), tuple(notes))


def step_count(variants: Sequence[Variant], workload: Workload, *, rounds: int, batch_size: int) -> int:
    """How often `run_bench` reports progress: a load each, a batch each, a round of each."""
    return len(variants) * (1 + rounds) + len(workload.batches(batch_size))


def _check(variants: Sequence[Variant], rounds: int) -> None:
    names = [variant.name for variant in variants]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise OnnxfixError(f"two variants are named '{twice}'", "a report cannot tell them apart: rename one")
    if not names:
        raise OnnxfixError("nothing to bench", "name an ONNX file")
    if rounds < 1:
        raise OnnxfixError(f"{rounds} rounds measure nothing", "give --rounds a number from 1")


def _baseline(trials: Sequence[Trial]) -> str:
    """Torch bf16 where it works, else the first that works, else empty."""
    live = [trial.variant for trial in trials if not trial.failure]
    return next((v.name for v in [*(v for v in live if v.is_bf16_torch), *live]), "")


def _reference(trials: Sequence[Trial]) -> str:
    return next((t.quality.reference for t in trials if t.quality and not t.failure), "")


def _row(trial: Trial, workload: Workload, timed: Sequence[Batch], yardsticks: Yardsticks) -> BenchRow:
    variant = trial.variant
    size = variant.file_bytes() or (trial.opened.weights_bytes if trial.opened else None)
    row = BenchRow(
        variant=variant.name,
        kind=variant.kind,
        dtype=variant.dtype if variant.kind != "onnx" else "",
        exporter=variant.exporter,
        verified=variant.verified,
        note=variant.note,
        failure=trial.failure,
        size_mb=size / MEGABYTE if size else math.nan,
        load_s=trial.opened.load_s if trial.opened else math.nan,
    )
    if trial.failure or trial.memory is None or trial.quality is None:
        return row
    measured, vram = latency(trial.seconds, timed), trial.memory.vram
    return replace(
        row,
        ms_per_sample=measured.median_ms,
        ms_p95=measured.p95_ms,
        samples_per_s=measured.samples_per_s,
        round_ms=measured.round_ms,
        memory_mb=trial.memory.peak_rss / MEGABYTE,
        vram_mb=vram / MEGABYTE if vram is not None else math.nan,
        **_quality_figures(trial.quality, workload, yardsticks),
    )


def _quality_figures(quality: Quality, workload: Workload, yardsticks: Yardsticks) -> dict[str, Any]:
    predicted = quality.predictions()
    differences = list(quality.logits.values())
    agreements = [agreement(other.predictions(), predicted) if other else math.nan for other in yardsticks]
    return {
        "heads": {
            head: HeadFigures(macro_f1(gold, predicted[head]), accuracy(gold, predicted[head]))
            for head, gold in workload.gold.items()
            if head in predicted
        },
        "agreement": agreements[0],
        "agreement_with_reference": agreements[1],
        "rel_l2_logits": max((d.rel_l2 for d in differences), default=math.nan),
        "max_abs_logits": max((d.max_abs for d in differences), default=math.nan),
        "nonfinite_rows": max((d.nonfinite_rows for d in differences), default=0),
    }

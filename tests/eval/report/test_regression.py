"""What is worse than in an earlier bench is said, and a machine that is slower as a whole is no regression."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from onnxfix.eval.bench.bench import BenchReport, Method
from onnxfix.eval.figures.row import BenchPoint, BenchRow, HeadFigures
from onnxfix.eval.inputs.point import Point
from onnxfix.eval.report.files import write_report
from onnxfix.eval.report.regression import regressions
from onnxfix.nouns.errors import OnnxfixError

BASE = BenchRow(
    "torch bf16", "torch", "bf16", size_mb=8, ms_per_sample=2.0, ms_low=1.9, ms_high=2.1, ratio=1.0, ratio_low=1.0,
    ratio_high=1.0, memory_mb=160, heads={"category": HeadFigures(0.84, 0.85)},
)  # fmt: skip
MODEL = replace(BASE, variant="model", kind="onnx", ms_per_sample=1.0, ratio=0.5, ratio_low=0.48, ratio_high=0.52)
GONE = replace(BASE, variant="broken", failure="does not load", ms_per_sample=float("nan"))
LONG = BenchPoint("model", 16, 512, ms_per_sample=9.0, ms_low=8.8, ratio=0.6, ratio_low=0.58)
METHOD = Method("rows", 16, 5, 8, "cpu", 0, "torch bf16", "torch bf16", (Point(16), Point(16, 512)))


def report(*rows: BenchRow, points: tuple[BenchPoint, ...] = ()) -> BenchReport:
    return BenchReport((BASE, *rows), METHOD, {}, (), points)


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    write_report(report(MODEL, GONE, points=(LONG,)), tmp_path)
    return tmp_path / "results.parquet"


def said(earlier: Path, *rows: BenchRow, tolerance: float = 0.1, long: BenchPoint = LONG) -> list[str]:
    return [found.sentence for found in regressions(report(*rows, points=(long,)), earlier, tolerance)]


def test_the_same_is_no_regression(earlier: Path) -> None:
    assert said(earlier, MODEL) == []
    assert said(earlier, replace(MODEL, ratio=0.54, ms_per_sample=1.05, memory_mb=165)) == [], "within the tolerance"


def test_a_slower_machine_is_none(earlier: Path) -> None:
    assert said(earlier, replace(MODEL, ms_per_sample=3.0)) == []


def test_rows_of_another_batching_are_other_rows(tmp_path: Path) -> None:
    padded, ordered = replace(MODEL, batching="padded"), replace(MODEL, batching="sorted", ratio=0.9, ratio_low=0.85)
    write_report(report(padded, ordered), tmp_path)
    worse = replace(ordered, ratio=1.2, ratio_low=1.1, ratio_high=1.3)
    file = tmp_path / "results.parquet"
    assert said(file, padded, ordered) == []
    assert [each.partition(": ")[0] for each in said(file, padded, worse)] == ["model, sorted"]


def test_earlier_versions_said_of_the_workload_that_it_was_sorted(tmp_path: Path) -> None:
    before = replace(METHOD, workload="rows, bucketed by length")
    write_report(BenchReport((BASE, MODEL), before, {}), tmp_path)
    file = tmp_path / "results.parquet"
    pl.read_parquet(file).drop("batching").write_parquet(file)
    base, slow = (replace(row, batching="sorted") for row in (BASE, replace(MODEL, ratio=0.7, ratio_low=0.66)))
    found = regressions(BenchReport((base, slow), before, {}), file, 0.1)
    assert [each.what for each in found] == ["time"]


def test_slower_against_the_baseline_is(earlier: Path) -> None:
    slow = replace(MODEL, ratio=0.7, ratio_low=0.66, ratio_high=0.75)
    assert said(earlier, slow) == ["model: 0.50 → 0.70 × the baseline's time (+40%; 95 % 0.66 … 0.75)"]
    assert said(earlier, slow, tolerance=0.5) == []
    noisy = replace(slow, ratio_low=0.4)
    assert said(earlier, noisy) == [], "its interval holds what it was"
    assert said(earlier, replace(slow, ratio_low=0.51)) == [], "and what it may have been: 0.48 … 0.52"
    assert said(earlier, replace(slow, ratio_low=float("nan"))) == [], "a single round has no interval"


def test_other_figures(earlier: Path) -> None:
    worse = replace(MODEL, size_mb=10, memory_mb=300, heads={"category": HeadFigures(0.80, 0.8)})
    assert said(earlier, worse) == [
        "model: size 8.0 → 10.0 MB",
        "model: memory 160.0 → 300.0 MB",
        "model: category F1 0.8400 → 0.8000",
    ]
    assert said(earlier) == ["model worked and is not in this bench"]
    failed = replace(MODEL, failure="does not load: no kernel")
    assert "model worked and fails: does not load: no kernel" in said(earlier, failed)


def test_a_length_of_the_sweep(earlier: Path) -> None:
    assert said(earlier, MODEL, long=replace(LONG, ratio=0.9, ratio_low=0.85, ratio_high=0.95)) == [
        "model at 16 × 512 tokens: 0.60 → 0.90 × the baseline's time (+50%; 95 % 0.85 … 0.95)"
    ]


def test_the_time_of_the_baseline_is_the_machines(earlier: Path) -> None:
    slower = replace(BASE, ms_per_sample=3.0, ms_low=2.9)
    found = regressions(BenchReport((slower, MODEL), METHOD, {}, (), (LONG,)), earlier, 0.1)
    assert [each.sentence for each in found] == []


def test_wrong_answers_and_lost_heads_are(tmp_path: Path) -> None:
    good = replace(MODEL, sound=True)
    write_report(report(good), tmp_path)
    earlier = tmp_path / "results.parquet"
    wrong = replace(good, sound=False, result="NaN or infinite outputs in 64 rows")
    assert [f.sentence for f in regressions(report(wrong), earlier, 0.1)] == [
        "model was sound and is not: NaN or infinite outputs in 64 rows"
    ]
    unlabelled = BenchReport((replace(BASE, heads={}), replace(good, heads={})), METHOD, {})
    assert [f.sentence for f in regressions(unlabelled, earlier, 0.1)] == [
        "torch bf16: category F1 0.8400 → not measured",
        "model: category F1 0.8400 → not measured",
    ]
    assert regressions(report(good), earlier, 0.1) == []


def test_another_provider_is_no_comparison(earlier: Path) -> None:
    other = BenchReport((BASE, MODEL), replace(METHOD, provider="cuda"), {})
    with pytest.raises(OnnxfixError, match="measured on cpu"):
        regressions(other, earlier, 0.1)


def test_files_that_are_no_result(earlier: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(other)
    for path, message in ((other, "no result"), (tmp_path / "no.parquet", "does not exist")):
        with pytest.raises(OnnxfixError, match=message):
            regressions(report(MODEL), path, 0.1)
    other.write_bytes(b"nothing")
    with pytest.raises(OnnxfixError, match="cannot be read"):
        regressions(report(MODEL), other, 0.1)
    with pytest.raises(OnnxfixError, match="no variant"):
        regressions(BenchReport((replace(MODEL, variant="new"),), METHOD, {}), earlier, 0.1)

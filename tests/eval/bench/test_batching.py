"""Padded and sorted rows in one bench: each way is compared within itself, and times are what all rows take."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import bench_models as models
import polars as pl
import pytest

from onnxfix.eval.bench.bench import BenchReport, Course, Variant, run_bench
from onnxfix.eval.figures.row import BenchRow
from onnxfix.eval.inputs.point import BATCHINGS, grid
from onnxfix.eval.inputs.workload import bucketed
from onnxfix.eval.report import contents
from onnxfix.eval.report.files import write_report
from onnxfix.eval.report.markdown import answer, method
from onnxfix.eval.report.page import page
from onnxfix.eval.report.regression import regressions
from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime
from onnxfix.eval.run.engines.pytorch import PyTorch
from onnxfix.flows.bench.keywords import batching_of, grid_of

pytestmark = pytest.mark.alone

pytest.importorskip("torch")
BATCH, PADS, PACKS = 8, "pads", "packs"


VARIANTS = [
    Variant(PADS, PyTorch(), partial(models.paced_classifier, False)),
    Variant(PACKS, PyTorch(), partial(models.paced_classifier, True)),
    Variant("gone", OnnxRuntime(), Path("nowhere.onnx")),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def course(folder: Path) -> Course:
    return Course(grid((BATCH,), (), BATCHINGS), 3, threads=1, folder=folder)


@pytest.fixture(scope="module")
def report(course: Course) -> BenchReport:
    return run_bench(VARIANTS, models.workload(), course)


def row(report: BenchReport, name: str, way: str) -> BenchRow:
    (found,) = [row for row in report.rows if (row.variant, row.batching) == (name, way)]
    return found


def tokens() -> dict[str, int]:
    """What is computed on the whole workload by a variant that pads, by way of batching, and of real tokens."""
    rows = models.workload()
    found = {
        way: sum(batch.arrays["input_ids"].size for batch in each.batches(BATCH))
        for way, each in (("padded", rows), ("sorted", bucketed(rows)))
    }
    return found | {"real": sum(len(each["input_ids"]) for each in rows.rows)}


def test_each_variant_is_a_row_of_each_way(report: BenchReport) -> None:
    ways = ("padded", "padded", "padded", "sorted", "sorted", "sorted")
    assert [(r.batching, r.variant) for r in report.rows] == list(zip(ways, [PADS, PACKS, "gone"] * 2, strict=True))
    assert {p.batching for p in report.points} == {"padded", "sorted"} and report.method.batchings == BATCHINGS


def test_times_are_those_of_all_rows(report: BenchReport) -> None:
    """Of sorted batches the median one would be of rows of middling length."""
    spent = tokens()
    by = row(report, PADS, "sorted").ms_per_sample / row(report, PADS, "padded").ms_per_sample
    assert by == pytest.approx(spent["sorted"] / spent["padded"], rel=0.15) and by < 0.8


def test_ratios_are_to_the_baseline_of_the_same_way(report: BenchReport) -> None:
    spent = tokens()
    for way in BATCHINGS:
        assert row(report, PADS, way).ratio == 1.0
        assert row(report, PACKS, way).ratio == pytest.approx(spent["real"] / spent[way], rel=0.15)
        assert row(report, PADS, way).result == "the baseline"
    assert row(report, PACKS, "padded").ratio < 0.75 < row(report, PACKS, "sorted").ratio
    assert row(report, PACKS, "padded").result.startswith("faster than pads at the same F1 (1.")


def test_answers_are_the_same_in_both(report: BenchReport) -> None:
    for name in (PADS, PACKS):
        one, other = (row(report, name, way) for way in BATCHINGS)
        assert one.heads == other.heads and one.memory_mb == other.memory_mb and one.agreement == other.agreement == 1
    assert row(report, "gone", "sorted").result == row(report, "gone", "padded").result


def test_what_was_measured_of_both_is_taken_up(report: BenchReport, course: Course) -> None:
    again = run_bench(VARIANTS, models.workload(), replace(course, resume=True))
    assert [r.as_dict() for r in again.rows] == [r.as_dict() for r in report.rows]


def test_what_is_written_says_which_way_a_row_is_of(report: BenchReport, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    document = json.loads((tmp_path / "summary.json").read_text())
    assert set(document["by_batching"]) == set(BATCHINGS) and document["fastest"] == document["by_batching"]["padded"]
    assert [r["batching"] for r in document["rows"]] == [r.batching for r in report.rows]
    frame = pl.read_parquet(tmp_path / "results.parquet")
    assert frame["batching"].to_list() == [r.batching for r in report.rows] and frame.height == 6
    drawn = contents.brief(document)
    assert drawn.columns[1].title == "batching" and [line.cells[1].text for line in drawn.lines][2:4] == [
        "padded", "sorted"]  # fmt: skip
    assert list(dict.fromkeys(line.group for line in drawn.lines)) == list(contents.WAYS.values())
    assert [line.style for line in drawn.lines].count("best") >= 2, "the fastest of each"
    assert [column.title for column in contents.sweep(document).columns] == ["variant", "batch 8", "batch 8, sorted"]
    assert len(contents.sweep(document).lines) == 3
    assert answer(report).startswith("padded: ") and "; sorted: " in answer(report)
    assert any("rows sorted by length before. Verdicts" in line for line in method(report))
    assert "ms/sample, rows sorted" in page(document, method(report), {})
    assert regressions(report, tmp_path / "results.parquet", 0.1) == []


def test_one_way_alone_is_said_once(report: BenchReport) -> None:
    rows = tuple(r for r in report.rows if r.batching == "sorted")
    document = BenchReport(rows, report.method, {}).as_dict()
    assert [line.group for line in contents.brief(document).lines] == ["", "", ""]
    assert {line.cells[1].text for line in contents.brief(document).lines} == {"sorted"}


def test_ways_as_asked_for() -> None:
    assert batching_of("padded", False, ()) == ("padded",) and batching_of("padded", True, ()) == ("sorted",)
    assert batching_of("both", False, ()) == BATCHINGS
    assert [str(point) for point in grid_of((1, 8), (), BATCHINGS)] == [
        "batch 1", "batch 1, sorted", "batch 8", "batch 8, sorted"]  # fmt: skip
    assert [str(point) for point in grid_of(8, 64)] == ["8 × 64 tokens"]

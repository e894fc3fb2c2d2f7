"""What a bench must call out: a slow variant, a wrong one, one that crashes, one that runs out of memory."""

from __future__ import annotations

from functools import partial

import bench_models as models
import pytest

from onnxfix.eval.bench.bench import BenchReport, Course, Variant, run_bench
from onnxfix.eval.inputs.point import Point
from onnxfix.eval.report.markdown import markdown
from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime
from onnxfix.eval.run.engines.pytorch import PyTorch

pytestmark = pytest.mark.alone

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def report() -> BenchReport:
    given = [
        Variant("torch fp32", PyTorch(), models.torch_classifier),
        Variant("torch bf16", PyTorch("bf16"), models.torch_classifier),
        Variant("twin", PyTorch(), partial(models.sleeping_classifier, 0.0)),
        Variant("sleeps", PyTorch(), partial(models.sleeping_classifier, 0.02)),
        Variant("limited", PyTorch(), partial(models.limited_classifier, 20)),
        Variant("mortal", PyTorch(), partial(models.mortal_classifier, 30)),
        Variant("killed", PyTorch(), models.killed_classifier),
        Variant("shuffled", PyTorch(), models.shuffled_classifier),
        Variant("hungry", PyTorch(), models.hungry_classifier),
        Variant("unmade", OnnxRuntime(), models.Path("unmade.onnx"), failure="cannot be made: no such exporter"),
    ]
    points = [Point(8), Point(4, 20), Point(2, 40)]
    return run_bench(given, models.workload(), Course(points=tuple(points), rounds=4, threads=1))


def said(report: BenchReport, name: str) -> str:
    return next(row.result for row in report.rows if row.variant == name)


def test_the_slow_one_is_called_out_and_its_twin_is_not(report: BenchReport) -> None:
    assert said(report, "sleeps").startswith("dominated by ") and "x slower" in said(report, "sleeps")
    slow, twin = (next(row for row in report.rows if row.variant == name) for name in ("sleeps", "twin"))
    assert slow.ratio > 5 * twin.ratio and slow.ratio_low > twin.ratio_high
    assert "works" in twin.result or "faster" in twin.result or "dominated" in twin.result
    assert slow.ms_per_sample == pytest.approx(20 / 8, rel=0.5), "20 ms a batch of 8"


def test_the_wrong_one_is_called_out(report: BenchReport) -> None:
    assert said(report, "shuffled").startswith("accuracy collapse: category F1 0.8")
    shuffled = next(row for row in report.rows if row.variant == "shuffled")
    assert shuffled.heads["category"].high < -0.3, "the interval of the loss"
    assert shuffled.kl_logits > 1 and shuffled.agreement == 0.0


def test_a_crash_and_a_lack_of_memory_take_nobody_down(report: BenchReport) -> None:
    assert "SIGKILL" in said(report, "killed")
    assert said(report, "hungry").startswith("does not load: ") and "allocate" in said(report, "hungry")
    assert said(report, "mortal").startswith("does not run: its process was ended by SIGKILL"), "in a later round"
    assert said(report, "unmade") == "cannot be made: no such exporter"
    assert [row.variant for row in report.rows if row.measured] == [
        "torch fp32", "torch bf16", "twin", "sleeps", "limited", "shuffled",
    ]  # fmt: skip


def test_every_point_is_timed(report: BenchReport) -> None:
    found = {(p.batch, p.length) for p in report.points if p.variant == "sleeps" and p.ms_per_sample > 0}
    assert found == {(8, None), (4, 20), (2, 40)}
    at = {p.batch: p.ms_per_sample for p in report.points if p.variant == "sleeps"}
    assert at[2] > 1.5 * at[4] > 1.5 * at[8], "the sleep is shared by fewer rows"


def test_the_markdown_says_it_all(report: BenchReport) -> None:
    text = markdown(report)
    assert "## By batch size and length" in text and "| variant | batch 8 | 4 × 20 tokens | 2 × 40 tokens |" in text
    assert "## F1 by class of category" in text and "| class0 |" in text
    for row in report.rows:
        assert f"| {row.variant} |" in text


def test_one_length_too_many_costs_that_length_alone(report: BenchReport) -> None:
    points = {(p.batch, p.length): p for p in report.points if p.variant == "limited"}
    assert not points[8, None].failure and not points[4, 20].failure and points[4, 20].ratio > 0
    assert "out of range of 20 positions" in points[2, 40].failure
    others = [p for p in report.points if p.variant == "twin"]
    assert len(others) == 3 and not any(p.failure for p in others)

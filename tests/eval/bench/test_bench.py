"""The bench on real tiny models: ranking, failures as rows, verdicts, report files."""

import json
from pathlib import Path

import bench_models as models
import numpy as np
import polars as pl
import pytest

from onnxfix.eval.bench.bench import BenchReport, Course, Variant, run_bench, step_count
from onnxfix.eval.figures.metrics import accuracy, macro_f1
from onnxfix.eval.figures.row import BenchRow
from onnxfix.eval.inputs.point import Point
from onnxfix.eval.inputs.workload import Workload
from onnxfix.eval.report.files import table, write_report
from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime
from onnxfix.eval.run.engines.pytorch import PyTorch
from onnxfix.render.markdown import plain

pytestmark = pytest.mark.alone

pytest.importorskip("torch")
ROUNDS, BATCH = 5, 8
COURSE = Course((Point(BATCH),), ROUNDS, threads=1)


@pytest.fixture(scope="module")
def steps() -> list[str]:
    return []


@pytest.fixture(scope="module")
def workload() -> Workload:
    return models.workload()


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> list[Variant]:
    folder = tmp_path_factory.mktemp("bench")
    fast = models.save_onnx(folder / "fast.onnx")
    slow = models.save_onnx(folder / "slow.onnx", slow_steps=20)
    wrong = models.save_onnx(folder / "wrong.onnx", kernel_factor=-1.0)
    broken = folder / "broken.onnx"
    broken.write_bytes(fast.read_bytes()[:200])
    return [
        Variant("torch fp32", PyTorch(), models.torch_classifier),
        Variant("torch bf16", PyTorch("bf16"), models.torch_classifier),
        Variant("broken", OnnxRuntime(), broken),
        Variant("fast", OnnxRuntime(), fast, exporter="by hand"),
        Variant("slow", OnnxRuntime(), slow),
        Variant("wrong", OnnxRuntime(), wrong),
        Variant("killed", PyTorch(), models.killed_classifier),
        Variant("elsewhere", PyTorch(), lambda: models.torch_classifier()),
    ]


@pytest.fixture(scope="module")
def report(variants: list[Variant], workload: Workload, steps: list[str]) -> BenchReport:
    return run_bench(variants, workload, COURSE, progress=steps.append)


def _row(report: BenchReport, name: str) -> BenchRow:
    return next(row for row in report.rows if row.variant == name)


def test_every_variant_is_a_row_in_the_order_given(report: BenchReport, variants: list[Variant]) -> None:
    assert [row.variant for row in report.rows] == [variant.name for variant in variants]
    assert report.method.baseline == "torch bf16"
    assert report.method.reference == "torch fp32"


def test_failures_are_rows_with_their_reason_and_stop_nobody(report: BenchReport) -> None:
    assert _row(report, "broken").result.startswith("does not load: ")
    assert "SIGKILL" in _row(report, "killed").result
    assert "cannot import" in _row(report, "elsewhere").result
    for name in ("broken", "killed", "elsewhere"):
        assert "\n" not in _row(report, name).result
        assert np.isnan(_row(report, name).ms_per_sample)
    for name in ("torch fp32", "torch bf16", "fast", "slow", "wrong"):
        row = _row(report, name)
        assert row.ms_per_sample > 0 and row.ms_p95 >= row.ms_per_sample and row.load_s > 0
        assert len(row.round_ms) == ROUNDS


def test_the_slow_model_is_slower_and_dominated(report: BenchReport) -> None:
    fast, slow = _row(report, "fast"), _row(report, "slow")
    assert slow.ms_per_sample > 3 * fast.ms_per_sample
    assert slow.rel_l2_logits < 1e-5, "the slow twin computes the same"
    assert slow.result.startswith("dominated by ") and "x slower" in slow.result


def test_a_wrong_model_is_a_collapse_whatever_its_speed(report: BenchReport) -> None:
    wrong, reference = _row(report, "wrong"), _row(report, "torch fp32")
    assert wrong.result.startswith("accuracy collapse: category F1 ")
    assert wrong.heads["category"].f1 < reference.heads["category"].f1 - 0.3
    assert wrong.agreement < 0.5
    assert wrong.rel_l2_logits == pytest.approx(2.0, rel=1e-4), "-x against x"


def test_figures_are_those_of_the_models(report: BenchReport, workload: Workload, variants: list[Variant]) -> None:
    kernel, rows = models.weights()[1], workload.rows
    logits = np.array([models.weights()[0][row["input_ids"]].sum(0) @ kernel for row in rows])
    gold, fast = workload.gold["category"], _row(report, "fast")
    assert fast.heads["category"].f1 == macro_f1(gold, logits.argmax(1))
    assert fast.heads["category"].accuracy == accuracy(gold, logits.argmax(1)) == pytest.approx(40 / 48)
    assert fast.rel_l2_logits < 1e-5
    assert 1e-4 < _row(report, "torch bf16").rel_l2_logits < 3e-2
    assert _row(report, "torch fp32").rel_l2_logits == 0.0
    assert fast.size_mb == Path(str(variants[3].source)).stat().st_size / 1e6
    assert _row(report, "torch fp32").size_mb == (40 * 16 + 16 * 4) * 4 / 1e6
    assert _row(report, "torch bf16").size_mb == (40 * 16 + 16 * 4) * 2 / 1e6


def test_memory_is_of_the_variant_alone(report: BenchReport, tmp_path: Path, workload: Workload) -> None:
    ballast = np.ones(60_000_000, dtype=np.uint8)  # held by this process; must not show in the child's figure
    path = models.save_onnx(tmp_path / "again.onnx")
    again = run_bench(
        [Variant("again", OnnxRuntime(), path)], workload, Course(rounds=1, points=(Point(BATCH),), threads=1)
    )
    assert ballast.any()
    assert again.rows[0].memory_mb < 50
    assert _row(report, "fast").memory_mb < 50


def test_progress_is_reported_as_often_as_announced(
    report: BenchReport, steps: list[str], variants: list[Variant], workload: Workload
) -> None:
    assert len(steps) == step_count(variants, workload, COURSE)


def test_files_parse_and_agree(report: BenchReport, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "bench"
    paths = write_report(report, folder)
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in paths), "nothing temporary is left"
    summary = json.loads((folder / "summary.json").read_text())
    frame = pl.read_parquet(folder / "results.parquet")
    assert summary["schema"] == "onnxfix.bench/2"
    assert [r["variant"] for r in summary["rows"]] == frame["variant"].to_list()
    for one, other in zip(summary["rows"], frame.to_dicts(), strict=True):
        for key, value in one.items():
            assert other[key] == value
    text = (folder / "REPORT.md").read_text()
    for row in summary["rows"]:
        line = next(line for line in text.splitlines() if line.startswith(f"| {row['variant']} |"))
        assert plain(row["result"]) in line
        assert ("err" in line) == bool(row["failure"])
        if not row["failure"]:
            assert f"| {row['ms_per_sample']:.2f} |" in line and f"| {row['f1_category']:.4f} |" in line
    write_report(report, folder)


def test_the_table_fits_a_terminal(report: BenchReport) -> None:
    from rich.console import Console

    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(table(report))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 100
    assert any("slow" in line and "dominated" in line for line in lines)

"""The GPU bench refuses a machine without a GPU, and writes its page from what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import bench_models as models
import onnx
import onnx.parser
import pytest

from onnxfix.eval.bench.bench import Course, Variant, run_bench
from onnxfix.eval.inputs.point import Point
from onnxfix.eval.report.files import write_report
from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime
from onnxfix.eval.run.engines.pytorch import PyTorch
from onnxfix.eval.run.machine import has_cuda

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
COPYING = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[N, 4] x) => (float[N, 4] y) {
  sizes = Constant<value_ints = [2, 2]>()
  parts = SplitToSequence<axis = 1>(x, sizes)
  y = ConcatFromSequence<axis = 1>(parts)
}
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_bench  # type: ignore[import-not-found]

    return gpu_bench


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A model the bench made, as onnxfix repair names it, and one whose nodes have no CUDA kernel."""
    folder = tmp_path / "models"
    folder.mkdir()
    models.save_onnx(folder / "legacy.precision-fp32.onnx")
    onnx.save(onnx.parser.parse_model(COPYING), folder / "unoptimized.onnx")
    return folder


@pytest.mark.skipif(has_cuda(), reason="this machine has a CUDA device")
def test_a_machine_without_a_gpu_is_refused(tmp_path: Path) -> None:
    folders = ["--output", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    command = [sys.executable, str(BENCHMARKS / "gpu_bench.py"), *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no CUDA device" in done.stderr and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [], "no figure is made up, nothing is made"


def test_the_page_says_what_was_measured_and_where_nodes_run(script: Any, files: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    given = [
        Variant("torch fp32", PyTorch(), models.torch_classifier),
        Variant("repaired", OnnxRuntime(), files / "legacy.precision-fp32.onnx"),
        Variant("wrong | broken", OnnxRuntime(), tmp_path / "absent.onnx"),
    ]
    write_report(run_bench(given, models.workload(16), Course(points=(Point(8),), rounds=2, threads=1)), tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    placed = script.placements(files, "cpu")
    assert [(each.name, each.forecast, each.measured, each.differences) for each in placed] == [
        ("legacy.precision-fp32", 0, 0, ()),
        ("unoptimized", 0, 0, ()),
    ]
    text = script.document("Some GPU", {"A title": summary}, placed)
    row = next(r for r in summary["rows"] if r["variant"] == "repaired")
    line = next(line for line in text.splitlines() if line.startswith("| repaired |"))
    assert f" {row['ms_per_sample']:.3f} | {row['ratio']:.2f} |" in line
    assert f" {row['f1_category']:.4f} |" in line
    assert "| wrong \\| broken | - | - |" in text
    assert text.startswith("# Some GPU\n") and "\n## A title\n" in text and "| legacy.precision-fp32 | 0 | 0 |" in text


def test_a_copy_in_a_repaired_file_is_bad_and_in_a_raw_one_is_not(script: Any) -> None:
    def placed(name: str, copies: int, *differences: str) -> Any:
        return script.Placed(name, copies, copies, {}, differences)

    assert not script._is_bad(placed("unoptimized", 12))
    assert not script._is_bad(placed("legacy.precision-fp16", 0))
    assert script._is_bad(placed("legacy.precision-fp16", 1))
    assert script._is_bad(placed("unoptimized", 12, "node a: forecast CUDA, measured CPU"))

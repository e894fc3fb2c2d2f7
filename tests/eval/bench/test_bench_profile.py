"""Profiles of a bench: one for each file that ONNX Runtime ran, in a process of its own, and none for others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import bench_models as models
import pytest

from onnxfix.eval.bench.bench import Course, Variant, run_bench
from onnxfix.eval.bench.profiling import KEYS, fitted, profiles
from onnxfix.eval.bench.worker import Settings
from onnxfix.eval.inputs.point import Point
from onnxfix.eval.report.files import profile_tables
from onnxfix.eval.report.markdown import markdown
from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime
from onnxfix.eval.run.engines.pytorch import PyTorch

pytestmark = pytest.mark.alone

POINT = Point(8)


def test_every_file_has_its_tables(tmp_path: Path) -> None:
    fast = models.save_onnx(tmp_path / "fast.onnx")
    slow = models.save_onnx(tmp_path / "slow.onnx", slow_steps=20)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(fast.read_bytes()[:200])
    given = [
        Variant("fast", OnnxRuntime(), fast),
        Variant("slow", OnnxRuntime(), slow),
        Variant("broken", OnnxRuntime(), broken),
        Variant("unmade", OnnxRuntime(), tmp_path / "unmade.onnx", failure="cannot be made"),
        Variant("torch", PyTorch(), models.torch_classifier),
    ]
    steps: list[str] = []
    found = profiles(given, models.workload(16), POINT, Settings(threads=1), progress=steps.append)
    assert list(found) == ["fast", "slow", "broken"] and len(steps) == len(given)
    assert "cannot be read" in found["broken"]["failure"] or "broken.onnx" in found["broken"]["failure"]
    for name in ("fast", "slow"):
        for key in KEYS:
            rows = found[name]["by"][key]
            assert sum(row["share"] for row in rows) == pytest.approx(1.0)
            assert sum(row["ms"] for row in rows) == pytest.approx(found[name]["wall_ms"])
    products = next(row for row in found["slow"]["by"]["op_type"] if row["name"] == "MatMul")
    fast = next(row for row in found["fast"]["by"]["op_type"] if row["name"] == "MatMul")
    assert products["count"] == 20 + 1 + fast["count"], "20 products of 320 × 320, and one with a part of the last"
    assert products["ms"] > 5 * fast["ms"]
    roof = found["slow"]["roofline"]
    # 20 of 320³ and those of the classifier
    assert 20 * 2 * 320**3 <= roof["flops"] < 1.1 * 20 * 2 * 320**3
    assert roof["bound_ms"] > 0 and roof["gap"] > 0.5

    report = run_bench(given[:2], models.workload(16), Course(points=(POINT,), rounds=1, threads=1))
    report = replace(report, profiles=found)
    json.dumps(report.as_dict(), allow_nan=False)
    text = markdown(report)
    assert "## Where the time of slow goes" in text and "## Where the time of broken goes" in text
    assert [line.partition(":")[0] for line, _ in profile_tables(report)] == ["fast", "slow"]


def test_inputs_are_those_of_the_file(tmp_path: Path) -> None:
    path = models.save_onnx(tmp_path / "model.onnx")
    batch = models.workload(8).batches(8)[0].arrays
    found = fitted(path, {**batch, "token_type_ids": batch["input_ids"]})
    assert list(found) == ["input_ids", "attention_mask"]

"""A new engine is one new module: planted in the room's folders it is benched, and no list knows of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import bench_models as models
import pytest
from rich.console import Console

from onnxfix.eval.bench.bench import BenchReport, Course, Variant, run_bench
from onnxfix.eval.inputs.point import Point
from onnxfix.eval.report.charts import SERIES, colour
from onnxfix.eval.report.files import table, write_report
from onnxfix.eval.run import engines
from onnxfix.eval.run.engine import Engine, all_engines
from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime
from onnxfix.eval.run.machine import machine
from onnxfix.flows.bench.rows import rows

MODULE = '''
"""Evaluator: an ONNX file in the reference implementation of the onnx package, node by node in numpy."""

from dataclasses import dataclass

from onnxfix.eval.run.engine import Engine, Loaded
from onnxfix.eval.run.runners import LoadFailure
from onnxfix.eval.run.engine import SweepRow


@dataclass(frozen=True)
class Evaluator(Engine):
    dtype: str = "fp32"

    kind = "evaluator"
    packages = ("rich",)
    modules = ("onnx.reference",)
    series = 6

    @classmethod
    def rows(cls):
        return (SweepRow("evaluator (legacy)", cls(), "legacy"),)

    def load(self, source, *, provider, threads, name):
        if self.dtype != "fp32":
            raise LoadFailure(f"the evaluator has no {self.dtype}", "take fp32")
        return Loaded(Evaluated(source, name))


class Evaluated:
    def __init__(self, path, name):
        from onnx.reference import ReferenceEvaluator

        self.name, self._evaluator = name, ReferenceEvaluator(str(path))
        self.output_names = self._evaluator.output_names

    def run(self, feed):
        return dict(zip(self.output_names, self._evaluator.run(None, dict(feed)), strict=True))

    def prepared(self, feed):
        return lambda: self.run(feed)

    def close(self):
        self._evaluator = None
'''


@pytest.fixture
def evaluator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Engine]]:
    """The engine's class, its module in a folder that no other process is told of."""
    folder = tmp_path / "planted"
    folder.mkdir()
    (folder / "evaluator.py").write_text(MODULE)
    monkeypatch.setattr(engines, "__path__", [*engines.__path__, str(folder)])
    yield next(kind for kind in all_engines() if kind.kind == "evaluator")
    del sys.modules[f"{engines.__name__}.evaluator"]


def bench(evaluator: type[Engine], folder: Path) -> BenchReport:
    path = models.save_onnx(folder / "model.onnx")
    given = [
        Variant("ort", OnnxRuntime(), path),
        Variant("made up", evaluator(), path),
        Variant("refused", evaluator("bf16"), path),  # type: ignore[call-arg]
    ]
    return run_bench(given, models.workload(16), Course(rounds=2, points=(Point(8),), threads=1))


def test_a_variant_in_it_is_a_row_of_every_report(evaluator: type[Engine], tmp_path: Path) -> None:
    report = bench(evaluator, tmp_path)
    row = next(row for row in report.rows if row.variant == "made up")
    assert (row.failure, row.kind, row.dtype) == ("", "evaluator", "fp32")
    assert row.rel_l2_logits < 1e-5 and row.agreement == 1.0 and row.ms_per_sample > 0 and row.ratio > 0
    assert row.size_mb == (tmp_path / "model.onnx").stat().st_size / 1e6, "the size of its file"
    assert report.rows[2].failure == "does not load: the evaluator has no bf16; take fp32"
    write_report(report, tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    found = next(r for r in summary["rows"] if r["variant"] == "made up")
    assert (found["kind"], found["ms_per_sample"]) == ("evaluator", row.ms_per_sample)
    figures = f"{row.ms_per_sample:.2f}"
    line = next(x for x in (tmp_path / "REPORT.md").read_text().splitlines() if x.startswith("| made up | –"))
    assert f" {figures} " in line
    console = Console(width=140)
    with console.capture() as printed:
        console.print(table(report))
    assert figures in next(x for x in printed.get().splitlines() if x.strip().startswith("made up "))


def test_its_rows_its_colour_and_its_packages_are_asked_of_it(evaluator: type[Engine]) -> None:
    assert "evaluator (legacy)" in [row.name for row in rows()]
    assert colour("evaluator") == SERIES[6]
    assert "rich" in machine("cpu")


def test_without_it_nothing_is_left_of_it() -> None:
    assert [kind.kind for kind in all_engines()] == ["onnx", "openvino", "torch", "onnx", "torch"]
    assert "evaluator (legacy)" not in [row.name for row in rows()] and "rich" not in machine("cpu")

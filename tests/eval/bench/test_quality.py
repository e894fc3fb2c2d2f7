"""Quality from answers: a metric that fails, and heads that have no labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from onnxfix.eval.bench.quality import Judge, find_metric
from onnxfix.eval.bench.trial import Answers
from onnxfix.eval.inputs.workload import Workload
from onnxfix.nouns.errors import OnnxfixError

GOLD = np.array([0, 1, -1, 2])
LOGITS = np.eye(3, dtype=np.float32)[[0, 1, 1, 0]]


def share(gold: Mapping[str, Any], logits: Mapping[str, Any]) -> float:
    if not all(np.isfinite(each).all() for each in logits.values()):
        raise ValueError("Input contains NaN.")
    return float(np.mean(logits["kind"].argmax(1) == gold["kind"]))


def test_a_metric_that_fails_on_one_variant_costs_its_figure_alone() -> None:
    good, broken = Answers("a", {"kind": LOGITS}), Answers("a", {"kind": LOGITS * np.nan})
    judge = Judge(Workload("rows", gold={"kind": GOLD}), good, good, share)
    assert judge.figures("a", good)["metrics"] == {"share": 0.5} and judge.notes == []
    assert judge.figures("b", broken)["metrics"] == {}
    assert judge.notes == ["the metric fails on b: ValueError: Input contains NaN."]


def test_rows_without_a_label_count_in_no_class() -> None:
    answers = Answers("a", {"kind": LOGITS})
    judge = Judge(Workload("rows", gold={"kind": GOLD}, classes={"kind": ["x", "y", "z"]}), None, None)
    found = {entry["class"]: entry["rows"] for entry in judge.classes({"a": answers})["kind"]}
    assert found == {"x": 1, "y": 1, "z": 1}
    assert judge.figures("a", answers)["heads"]["kind"].accuracy == pytest.approx(2 / 3)


@pytest.mark.parametrize("text", ["share", "nothing_here:share", "json:nothing", "json:decoder", "broken_metric:f"])
def test_a_metric_that_cannot_be_had_is_an_error_before_anything_runs(
    text: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_metric.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OnnxfixError, match="metric="):
        find_metric(text)

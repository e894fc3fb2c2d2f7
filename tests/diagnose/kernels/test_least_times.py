"""Least times by roofline: the larger of arithmetic and memory, of scores that are kept or not."""

from __future__ import annotations

import pytest

from onnxfix.diagnose.kernels.cases import Case
from onnxfix.diagnose.kernels.least_times import GPUS, least_times

CASE = Case("com.microsoft.MultiHeadAttention", "fp16", 12, 12, 64, 64)
A100 = next(gpu for gpu in GPUS if gpu.sm == 80)


def of_a100(case: Case, rows: int, tokens: int) -> tuple[float, float]:
    return next((t.fused_ms, t.unfused_ms) for t in least_times(case, rows, tokens) if t.sm == 80)


def test_of_short_rows_memory_is_the_bound() -> None:
    """8 rows of 128 tokens, 12 heads of 64: four tensors of 1.57 MB, and 1.57 million half scores four times."""
    fused, unfused = of_a100(CASE, 8, 128)
    assert fused == pytest.approx(1e3 * 4 * 8 * 128 * 768 * 2 / 1555e9)
    assert unfused == pytest.approx(fused + 1e3 * 4 * 8 * 12 * 128 * 128 * 2 / 1555e9)


def test_of_long_rows_arithmetic_is_the_bound_where_no_scores_are_kept() -> None:
    fused, unfused = of_a100(CASE, 1, 8192)
    assert fused == pytest.approx(1e3 * 4 * 12 * 8192 * 8192 * 64 / 312e12)
    assert unfused > 3 * fused, "scores of 1.6 GB are written and read"


@pytest.mark.parametrize(
    ("more", "factor"), [({"causal": True}, 0.5), ({"element": "fp32"}, 312 / 19.5), ({"queries": 1024}, 0.125)]
)
def test_what_changes_it(more: dict[str, object], factor: float) -> None:
    changed = Case(**{**CASE.__dict__, **more})
    assert of_a100(changed, 1, 8192)[0] == pytest.approx(factor * of_a100(CASE, 1, 8192)[0])


def test_fewer_heads_of_keys_are_read_once() -> None:
    grouped = Case("com.microsoft.GroupQueryAttention", "fp16", 12, 3, 64, 64)
    assert of_a100(grouped, 8, 128)[0] == pytest.approx(of_a100(CASE, 8, 128)[0] * (12 + 3) / 24)


@pytest.mark.parametrize("more", [{"size": None}, {"heads": 0}, {"element": ""}])
def test_nothing_is_said_of_sizes_that_nobody_knows(more: dict[str, object]) -> None:
    assert least_times(Case(**{**CASE.__dict__, **more}), 8, 128) == ()

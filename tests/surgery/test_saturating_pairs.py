"""Which pairs of weights can saturate, and the data-free estimate of the loss, against all or many activations."""

from __future__ import annotations

import numpy as np
import pytest

from onnxfix.surgery.sites.linear import saturation

RNG = np.random.default_rng(0)


def test_exactly_the_pairs_that_leave_int16() -> None:
    """All 65,536 pairs of weights, one a column; the extremes of the activations are those of the sum."""
    weights = np.stack(np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)), axis=0).reshape(2, -1).astype(np.int8)
    corners = np.array([[0, 0], [0, 255], [255, 0], [255, 255]]) @ weights.astype(np.int64)
    leaves = (corners.max(axis=0) > 32_767) | (corners.min(axis=0) < -32_768)
    pairs = saturation.saturating(weights)
    assert np.array_equal(pairs.column, np.flatnonzero(leaves)) and not pairs.first.any()


def test_pairs_stand_by_column_and_an_odd_last_weight_has_no_partner(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = RNG.integers(-128, 128, (9, 50)).astype(np.int8)
    expected = [
        (column, k)
        for column in range(50)
        for k in range(0, 8, 2)
        if abs(int(weight[k, column]) + int(weight[k + 1, column])) > 128
    ]
    for block in (1, 30, 1 << 21):
        monkeypatch.setattr(saturation, "_BLOCK", block)
        pairs = saturation.saturating(weight)
        assert list(zip(pairs.column.tolist(), pairs.first.tolist(), strict=True)) == expected


@pytest.mark.parametrize("kind", ["normal", "uniform", "planted", "negative", "odd"])
def test_the_estimate_is_what_uniform_activations_lose(kind: str) -> None:
    weight = np.round(np.clip(RNG.normal(size=(64, 32)) * 40, -127, 127)).astype(np.int8)
    if kind == "uniform":
        weight = RNG.integers(-127, 128, (65, 32)).astype(np.int8)
    if kind in ("planted", "negative"):
        weight[10:18] = 127 if kind == "planted" else -128
    if kind == "odd":
        weight = weight[:63]
    activation = RNG.integers(0, 256, (6000, len(weight))).astype(np.float64)
    lost = np.zeros((6000, 32))
    for k in range(0, len(weight) - 1, 2):
        sums = activation[:, k : k + 2] @ weight[k : k + 2].astype(np.float64)
        lost += np.clip(sums, -32_768, 32_767) - sums
    product = (activation - 128) @ weight.astype(np.float64)
    measured = np.sqrt((lost**2).mean() / (product**2).mean())
    assert saturation.expected_loss(weight) == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("weight", [np.full((8, 3), 64), np.full((8, 3), -64), np.zeros((4, 2)), np.full((1, 5), -128)])
def test_nothing_is_lost(weight: np.ndarray) -> None:
    assert saturation.expected_loss(weight.astype(np.int8)) == 0.0

"""Medians, ratios and their intervals, against what is known of the numbers they are of."""

from __future__ import annotations

import numpy as np
import pytest

from onnxfix.eval.figures.latency import latency, ratio, round_ratios

RNG = np.random.default_rng(7)


def test_milliseconds_are_of_a_sample() -> None:
    found = latency(np.array([[0.016, 0.008], [0.016, 0.008]]), [16, 4])
    assert found.median.value == pytest.approx(1.5) and found.round_ms == pytest.approx((1.5, 1.5))
    assert found.samples_per_s == pytest.approx(40 / 0.048)
    assert found.p95_ms == pytest.approx(2.0) and found.p99_ms == pytest.approx(2.0)


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    held = 0
    for _ in range(200):
        seconds = RNG.lognormal(0, 0.1, size=(10, 8))
        interval = latency(seconds, [1000] * 8).median
        held += interval.low <= 1.0 <= interval.high
    assert 170 <= held <= 200


@pytest.mark.parametrize("rounds", [2, 3, 5])
def test_few_rounds_are_as_often_right_as_many(rounds: int) -> None:
    """Two of the same speed, each round disturbed as a whole: hardly more than one verdict in twenty is wrong."""
    held = 0
    for _ in range(200):
        seconds = RNG.lognormal(0, 0.1, size=(rounds, 1)) * RNG.lognormal(0, 0.02, size=(rounds, 8))
        found = ratio(seconds, np.ones_like(seconds))
        held += found.low <= 1.0 <= found.high
    assert 180 <= held <= 200


def test_a_single_round_has_no_interval() -> None:
    found = ratio(np.full((1, 8), 2.0), np.ones((1, 8)))
    assert found.value == 2.0 and np.isnan(found.low) and np.isnan(found.high)


def test_what_disturbs_a_round_cancels_in_the_ratio() -> None:
    drift = np.exp(RNG.normal(0, 0.5, size=(10, 1)))
    one, other = (drift * RNG.lognormal(np.log(level), 0.02, size=(10, 8)) for level in (2.0, 1.0))
    found = ratio(one, other)
    assert found.value == pytest.approx(2.0, rel=0.03) and found.high - found.low < 0.1
    plain = latency(one, [1000] * 8).median
    assert plain.high - plain.low > 5 * (found.high - found.low)
    assert round_ratios(one, other) == pytest.approx((2.0,) * 10, rel=0.1)


def test_rounds_are_what_the_interval_is_wide_by() -> None:
    """Batches of one round are disturbed together: many of them do not make the median surer."""
    rounds = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])
    interval = latency(np.repeat(rounds, 100, axis=1), [1000] * 100).median
    assert interval.low <= 2.0 and interval.high >= 4.0

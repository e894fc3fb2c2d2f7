"""Latency: seconds a batch, by round and batch, as milliseconds a sample with intervals, and as ratios of two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]
"""(rounds, batches)"""
DRAWS = 2000
CONFIDENCE = 95.0
# Quantile 0.975 of Student's t by the number of rounds, from 2, by that of the normal distribution (1.96): how much
# wider an interval of so few must be. From 11 on within 0.15 of 1.
STUDENT = (6.48, 2.20, 1.62, 1.42, 1.31, 1.25, 1.21, 1.18, 1.15)


@dataclass(frozen=True)
class Interval:
    """A figure with the 95 % bootstrap interval of it; all NaN where nothing was measured, its ends where one round
    was: batches of one round say nothing of what the next would be."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Latency:
    """Milliseconds a sample over all timed batches of all rounds: a batch's time divided by its rows."""

    median: Interval
    p95_ms: float
    p99_ms: float
    samples_per_s: float
    """All timed samples by all timed seconds."""
    round_ms: tuple[float, ...]
    """The median of each round."""


def latency(seconds: Seconds, rows: Sequence[int]) -> Latency:
    """Figures of one variant. `seconds` of shape (rounds, batches); `rows`: samples of each batch."""
    per_sample = seconds * 1000 / np.asarray(rows, dtype=np.float64)
    return Latency(
        median=_median(per_sample),
        p95_ms=float(np.percentile(per_sample, 95)),
        p99_ms=float(np.percentile(per_sample, 99)),
        samples_per_s=float(np.sum(rows) * len(seconds) / seconds.sum()),
        round_ms=tuple(float(ms) for ms in np.median(per_sample, axis=1)),
    )


def ratio(seconds: Seconds, baseline: Seconds) -> Interval:
    """Median of time by time of the baseline, on the same batches of the same rounds.

    Both of shape (rounds, batches). What disturbs a round slows both, so the ratio is steadier than either time.
    """
    return _median(seconds / baseline)


def round_ratios(seconds: Seconds, baseline: Seconds) -> tuple[float, ...]:
    """The median ratio of each round."""
    return tuple(float(x) for x in np.median(seconds / baseline, axis=1))


def percentile_interval(draws: NDArray[Any]) -> tuple[float, float]:
    """The middle 95 % of bootstrap draws."""
    low, high = np.percentile(draws, [(100 - CONFIDENCE) / 2, (100 + CONFIDENCE) / 2])
    return float(low), float(high)


def _median(figures: Seconds) -> Interval:
    """Median with an interval: rounds are drawn with replacement, and batches within each (Efron & Tibshirani 1993).

    Rounds first, since a disturbance lasts longer than a batch: batches of one round are not independent. Draws of few
    rounds are nearer to each other than the rounds to come: of 2 rounds the plain interval holds the median one time in
    two. So it is widened, by factors since all figures are positive, as Student's t is, and by the square root of
    n / (n - 1), by which draws of n underestimate a spread.
    """
    rounds, batches = figures.shape
    if rounds < 2:
        return Interval(float(np.median(figures)))
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, rounds, (DRAWS, rounds))
    within = rng.integers(0, batches, (DRAWS, rounds, batches))
    drawn = np.median(figures[chosen[:, :, None], within].reshape(DRAWS, -1), axis=1)
    value = float(np.median(figures))
    wider = (STUDENT[rounds - 2] if rounds - 2 < len(STUDENT) else 1.0) * math.sqrt(rounds / (rounds - 1))
    low, high = (value * (end / value) ** wider for end in percentile_interval(drawn))
    return Interval(value, low, high)

"""Pace: how long one row takes by the time of another, with its interval, and which of the two that lets one call
faster. Two rows whose interval holds 1 are tied."""

from __future__ import annotations

import math

from .latency import Interval
from .row import BenchRow


def pace(row: BenchRow, other: BenchRow) -> Interval:
    """Time by the other's; through the baseline where both ran beside it, for they may not have run together.

    The interval divides ends by opposite ends: those of the same rounds would be narrower, and not all rows have them.
    NaN at both ends where one of them was measured in a single round.
    """
    through = not (math.isnan(row.ratio) or math.isnan(other.ratio))
    one, two = (each.by_baseline if through else each.median for each in (row, other))
    return Interval(one.value / two.value, one.low / two.high, one.high / two.low)


def is_surely_slower(row: BenchRow, other: BenchRow) -> bool:
    """By the interval."""
    return pace(row, other).low > 1


def is_known(found: Interval) -> bool:
    """It has an interval: rows of a single round have none."""
    return not math.isnan(found.low)


def is_tied(found: Interval) -> bool:
    """The interval is known and does not say which is faster."""
    return found.low <= 1 <= found.high


def reversed_pace(found: Interval) -> Interval:
    """Of the other by this one: how many times as fast."""
    return Interval(1 / found.value, 1 / found.high, 1 / found.low)


def between(found: Interval) -> str:
    """`95 % 0.61 … 1.10`."""
    return f"95 % {found.low:.2f} … {found.high:.2f}"

"""Domains and ticks of a plot's axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def domain(values: Sequence[float]) -> tuple[float, float]:
    """With room at both ends: a factor on a logarithmic axis."""
    low, high = min(values), max(values)
    room = 1.12 if high <= 10 * low else 1.35
    return low / room, high * room


def span(values: Sequence[float]) -> tuple[float, float]:
    """With room at both ends on a linear axis; figures that hardly differ, as F1s within 0.005, do not fill it."""
    room = max(0.08 * (max(values) - min(values)), 0.005 * max(abs(v) for v in values), 1e-4)
    return min(values) - room, max(values) + room


def logarithmic(bounds: tuple[float, float]) -> dict[str, Any]:
    return {"type": "log", "domain": list(bounds), "nice": False}


def ticks(bounds: tuple[float, float]) -> dict[str, Any]:
    """Ticks at 1, 2 and 5 of each decade, closer where fewer than four of them fit."""
    low, high = (math.floor(math.log10(x)) for x in bounds)
    for steps in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), tuple(x / 10 for x in range(10, 100, 2))):
        found = [round(s * 10.0**e, 9) for e in range(low, high + 1) for s in steps]
        found = [t for t in found if bounds[0] <= t <= bounds[1]]
        if len(found) >= 4:
            break
    return {"values": found, "format": "~g", "labelOverlap": True}

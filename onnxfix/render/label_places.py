"""Places for labels beside points, so that none covers another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

HIGH, WIDE = 13.0, 7.5  # pixels of a line and of a digit
# Where a label may stand, in pixels from its point: the nearest first.
OFFSETS = [(0.0, 0.0)] + [
    (radius * math.cos(angle), radius * math.sin(angle))
    for radius in (14.0, 20.0, 28.0, 38.0, 50.0, 64.0)
    for angle in (-math.pi / 2, math.pi / 2, 0.0, math.pi, -math.pi / 4, math.pi / 4, -3 * math.pi / 4, 3 * math.pi / 4)
]


@dataclass(frozen=True)
class Label:
    """`first`: gets its place before others."""

    text: str
    x: float
    y: float
    first: bool = False


def placed(
    labels: Sequence[Label], x: tuple[float, float], y: tuple[float, float], width: float, height: float
) -> list[dict[str, Any]]:
    """Label by label its place as data, `x` on a logarithmic axis of this domain and `y` on a linear one."""
    taken: list[tuple[float, float, float]] = []
    found = []
    for label in sorted(labels, key=lambda each: not each.first):
        across = width * math.log(label.x / x[0]) / math.log(x[1] / x[0])
        down = height * (y[1] - label.y) / (y[1] - y[0])
        wide = WIDE * len(label.text)
        spots = [(across + dx, down + dy) for dx, dy in OFFSETS]
        inside = [(a, d) for a, d in spots if wide / 2 <= a <= width - wide / 2 and HIGH / 2 <= d <= height - HIGH / 2]
        free = (s for s in inside if not any(_touches(s, wide, other) for other in taken))
        spot = next(free, (across, down))
        taken.append((*spot, wide))
        found.append(
            {
                "n": label.text,
                "x": x[0] * math.exp(math.log(x[1] / x[0]) * spot[0] / width),
                "y": y[1] - (y[1] - y[0]) * spot[1] / height,
            }
        )
    return found


def _touches(spot: tuple[float, float], wide: float, other: tuple[float, float, float]) -> bool:
    return abs(spot[0] - other[0]) < (wide + other[2]) / 2 + 2 and abs(spot[1] - other[1]) < HIGH

"""Which variant is best: time against quality, with memory as the bubble, and the line of those that none beats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from onnxfix.render import axes
from onnxfix.render.label_places import Label, placed
from onnxfix.render.vega import INK, SOFT, svg

from .charts import colour, measured
from .contents import Document, memory_mb, once

WIDTH, HEIGHT = 760, 340


def pareto(document: Document) -> str:
    """Time against quality; the area of a bubble is memory, and the line joins those that none beats in both.

    Of the first way of batching alone: that another's times are lower says nothing of a variant."""
    document = {**document, "rows": once(document)}
    title, figures = quality(document)
    points = [
        {"x": row["ms_per_sample"], "y": figure, "m": memory_mb(row), "n": str(number), "row": row}
        for (number, row), figure in zip(measured(document), figures, strict=True)
        if figure is not None
    ]
    if not points:
        return ""
    x, y = axes.domain([p["x"] for p in points]), axes.span([p["y"] for p in points])
    values = [
        {
            "x": p["x"], "y": p["y"], "m": p["m"], "c": colour(p["row"]["kind"]),
            "o": 0.75 if p["row"].get("sound") else 0.25,
            "s": INK if p["row"]["variant"] == document["method"]["baseline"] else "transparent",
            "d": f"{p['n']}  {p['row']['variant']}\n{p['x']:.3g} ms/sample, {title} {p['y']:.4g}, {p['m']:,.0f} MB",
        }
        for p in points
    ]  # fmt: skip
    labels = placed([Label(p["n"], p["x"], p["y"], bool(p["row"].get("sound"))) for p in points], x, y, WIDTH, HEIGHT)
    front = _front([(p["x"], p["y"]) for p in points if p["row"].get("sound")])
    place = {
        "x": {
            "field": "x",
            "type": "quantitative",
            "title": "ms/sample",
            "scale": axes.logarithmic(x),
            "axis": axes.ticks(x),
        },
        "y": {"field": "y", "type": "quantitative", "title": title, "scale": {"domain": list(y), "nice": False}},
    }
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": [{"x": a, "y": b} for a, b in front]},
            "mark": {"type": "line", "interpolate": "step-after", "color": SOFT, "strokeDash": [4, 3], "opacity": 0.8},
            "encoding": place,
        },
        {
            "data": {"values": values},
            "mark": {"type": "point", "filled": True, "strokeWidth": 2},
            "encoding": place
            | {
                "size": {"field": "m", "type": "quantitative", "scale": {"range": [60, 900]}, "legend": None},
                "color": {"field": "c", "type": "nominal", "scale": None},
                "stroke": {"field": "s", "type": "nominal", "scale": None},
                "opacity": {"field": "o", "type": "quantitative", "scale": None},
                "description": {"field": "d"},
            },
        },
        {
            "data": {"values": labels},
            "mark": {"type": "text", "fontSize": 11, "fill": INK},
            "encoding": place | {"text": {"field": "n", "type": "nominal"}},
        },
    ]
    label = f"{len(points)} variants by time and {title}"
    return svg({"width": WIDTH, "height": HEIGHT, "layer": layers}, label)


def quality(document: Document) -> tuple[str, list[float | None]]:
    """What stands on the vertical axis, and its figure for each measured row: F1, else agreement, else accuracy of
    outputs in dB."""
    rows, heads = [row for _, row in measured(document)], document.get("heads") or []
    if heads:
        title = f"macro F1 of {heads[0]}" if len(heads) == 1 else f"macro F1, mean of {len(heads)} heads"
        return title, [_mean([row.get(f"f1_{head}") for head in heads]) for row in rows]
    if any(row.get("agreement") is not None for row in rows):
        return "agreement with the baseline", [row.get("agreement") for row in rows]
    errors = [row.get("rel_l2_logits") for row in rows]
    return "outputs above their error, dB", [None if e is None else -20 * math.log10(max(e, 1e-8)) for e in errors]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if values and len(known) == len(values) else None


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no other beats in time and quality, the fastest first."""
    best, found = -math.inf, []
    for x, y in sorted(points, key=lambda p: (p[0], -p[1])):
        if y > best:
            best = y
            found.append((x, y))
    return found

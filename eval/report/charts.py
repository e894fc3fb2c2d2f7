"""The plots of a bench beside its main one: how sure a time is, and where memory and time go."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnxfix.eval.run.engine import all_engines
from onnxfix.render import axes
from onnxfix.render.vega import INK, SERIES, SOFT, names, svg

from .contents import Document, Entry, called, memory_mb, on_device, once

BAND = 22
MOST_LINES = 8


def measured(document: Document) -> list[tuple[int, Entry]]:
    """Rows with a time, with the number that the table gives each."""
    rows = enumerate(document["rows"], start=1)
    return [(number, row) for number, row in rows if row.get("ms_per_sample") is not None]


def colour(kind: str) -> str:
    """Of an engine, by its name in a report."""
    places = {engine.kind: engine.series for engine in all_engines()}
    place = places.get(kind)
    return SOFT if place is None else SERIES[place]


def ratios(document: Document) -> str:
    """Time by the baseline's, with its interval, a row each; rows of a single round have none and are left out."""
    rows = [(n, row) for n, row in measured(document) if row.get("ratio_low") is not None]
    if len(rows) < 2:
        return ""
    shown = _labelled(rows, document)
    values = [
        {"v": name, "x": row["ratio"], "a": row["ratio_low"], "b": row["ratio_high"],
         "c": colour(row["kind"]),
         "d": f"{row['variant']}\n{row['ratio']:.3g} ({row['ratio_low']:.3g} … {row['ratio_high']:.3g})"}
        for name, (_, row) in zip(shown, rows, strict=True)
    ]  # fmt: skip
    domain = axes.domain([x for value in values for x in (value["a"], value["b"], 1.0)])
    across = {"type": "quantitative", "scale": axes.logarithmic(domain), "axis": axes.ticks(domain)}
    y = {"field": "v", "type": "nominal", "sort": shown, "title": None}
    title = f"time by that of {document['method']['baseline']}"
    layers = [
        {"data": {"values": [{}]}, "mark": {"type": "rule", "color": INK}, "encoding": {"x": {"datum": 1.0} | across}},
        {"mark": {"type": "rule", "strokeWidth": 2},
         "encoding": {"y": y, "x": {"field": "a", **across, "title": title}, "x2": {"field": "b"},
                      "color": {"field": "c", "type": "nominal", "scale": None}}},
        {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
         "encoding": {"y": y, "x": {"field": "x", **across}, "description": {"field": "d"},
                      "color": {"field": "c", "type": "nominal", "scale": None}}},
    ]  # fmt: skip
    spec = {"width": 480, "height": {"step": BAND}, "data": {"values": values}, "layer": layers}
    return svg(spec, f"time of {len(rows)} variants by the baseline's, with 95 % intervals")


def memory(document: Document) -> str:
    """Memory and size, two bars a row."""
    ours = once(document)  # memory is of a variant, however its rows are batched
    rows = [(number, row) for number, row in measured(document) if row in ours]
    if not rows:
        return ""
    shown, word = _labelled(rows, document), "VRAM" if on_device(document) else "memory"
    values = [
        {"v": name, "w": what, "x": figure, "d": f"{row['variant']}\n{what} {figure:,.1f} MB"}
        for name, (_, row) in zip(shown, rows, strict=True)
        for what, figure in ((word, memory_mb(row)), ("size", row.get("size_mb") or 0.0))
    ]
    encoding = {
        "y": {"field": "v", "type": "nominal", "sort": shown, "title": None},
        "x": {"field": "x", "type": "quantitative", "title": "MB", "axis": {"tickCount": 6}},
        "yOffset": {"field": "w", "type": "nominal", "sort": [word, "size"]},
        "color": {
            "field": "w", "type": "nominal", "title": None, "sort": [word, "size"],
            "scale": {"domain": [word, "size"], "range": [SERIES[4], SERIES[1]]}, "legend": {"orient": "top"},
        },
        "description": {"field": "d"},
    }  # fmt: skip
    spec = {"width": 480, "height": {"step": 11}, "data": {"values": values}, "mark": "bar", "encoding": encoding}
    return svg(spec, f"{word} and size of {len(rows)} variants")


def lines(document: Document, over: str) -> str:
    """Time against the batch size or the length (`over`), a line a variant: the baseline and the fastest."""
    points = [p for p in document.get("points") or [] if p.get("ms_per_sample") is not None and p.get(over)]
    other = "length" if over == "batch" else "batch"
    fixed = next((p.get(other) for p in points), None)
    points = [p for p in points if p.get(other) == fixed and p.get("batching") == points[0].get("batching")]
    if len({p[over] for p in points}) < 2:
        return ""
    best: dict[str, float] = {}
    for p in points:
        best[p["variant"]] = min(_ratio(p), best.get(p["variant"], math.inf))
    order = sorted(best, key=lambda name: best[name])
    chosen = order[:MOST_LINES]
    baseline = document["method"]["baseline"]
    if baseline in order and baseline not in chosen:
        chosen[-1] = baseline
    shown = dict(zip(chosen, names(chosen), strict=True))
    values = [
        {"v": shown[p["variant"]], "x": p[over], "y": p["ms_per_sample"],
         "a": p["ms_low"] or p["ms_per_sample"], "b": p["ms_high"] or p["ms_per_sample"],
         "d": f"{p['variant']}\n{p['ms_per_sample']:.3g} ms/sample at {over} {p[over]}"}
        for p in points if p["variant"] in shown
    ]  # fmt: skip
    ticks = sorted({p[over] for p in points})
    colour = {
        "field": "v", "type": "nominal", "title": None, "sort": list(shown.values()),
        "scale": {"domain": list(shown.values()), "range": list(SERIES[: len(shown)])},
    }  # fmt: skip
    title = {"batch": "rows a batch", "length": "tokens a row"}[over]
    x = {"field": "x", "type": "quantitative", "scale": {"type": "log", "domain": [ticks[0], ticks[-1]]},
         "axis": {"values": ticks, "grid": False}, "title": title}  # fmt: skip
    y = {"type": "quantitative", "scale": {"type": "log", "nice": False}, "title": "ms/sample"}
    layers = [
        {"mark": {"type": "area", "opacity": 0.15}, "encoding": {"y": {"field": "a", **y}, "y2": {"field": "b"}}},
        {"mark": {"type": "line"}, "encoding": {"y": {"field": "y", **y}}},
        {"mark": {"type": "point", "filled": True, "size": 45, "opacity": 1},
         "encoding": {"y": {"field": "y", **y}, "description": {"field": "d"}}},
    ]  # fmt: skip
    encoding = {"x": x, "color": colour}
    spec = {"width": 520, "height": 300, "data": {"values": values}, "encoding": encoding, "layer": layers}
    return svg(spec, f"time of {len(shown)} variants against {title}")


def _ratio(point: Entry) -> float:
    return float(point["ratio"] if point.get("ratio") is not None else point["ms_per_sample"])


def _labelled(rows: Sequence[tuple[int, Entry]], document: Document) -> list[str]:
    return names([f"{number}  {called(row, document)}" for number, row in rows])

"""The plots of profiles: where a batch's time goes, by operator, module and layer."""

from __future__ import annotations

from collections.abc import Sequence

from onnxfix.nouns.runtime.provider import placed_on
from onnxfix.render.vega import LINE, SERIES, names, svg

from .charts import BAND, MOST_LINES
from .contents import Document, Entry

OTHERS = "others"
PALE = (LINE, "var(--panel)")


def shares(document: Document, key: str) -> str:
    """Milliseconds of a batch by operator, torch module or provider, a bar a profiled variant.

    What no operator took stands last and pale: the time between operators, and what varies from run to run.
    """
    profiles = {n: p for n, p in (document.get("profiles") or {}).items() if p.get("by", {}).get(key)}
    if not profiles:
        return ""
    parts = [part for found in profiles.values() for part in found["by"][key]]
    totals: dict[str, float] = {}
    for part in parts:
        if part["count"]:
            totals[_part(part)] = totals.get(_part(part), 0.0) + part["ms"]
    largest = sorted(totals, key=lambda name: -totals[name])[: len(SERIES) - 1]
    labels = dict(zip(largest, names(largest, 40), strict=True))
    idle = list(dict.fromkeys(part["name"] for part in parts if not part["count"]))[: len(PALE)]
    domain = [*labels.values(), *([OTHERS] if len(totals) > len(largest) else []), *idle]
    colours = [*SERIES[: len(labels)], *([SERIES[-1]] if OTHERS in domain else []), *PALE[: len(idle)]]
    shown, values = names(list(profiles)), []
    for name, (variant, found) in zip(shown, profiles.items(), strict=True):
        sums: dict[str, float] = {}
        for part in found["by"][key]:
            label = part["name"] if part["name"] in idle else labels.get(_part(part), OTHERS)
            sums[label] = sums.get(label, 0.0) + part["ms"]
        values += [
            {"v": name, "w": label, "x": ms, "i": domain.index(label),
             "d": f"{variant}\n{label}: {ms:.3g} ms of {found['wall_ms']:.3g} ms"}
            for label, ms in sums.items()
        ]  # fmt: skip
    encoding = {
        "y": {"field": "v", "type": "nominal", "sort": shown, "title": None},
        "x": {"field": "x", "type": "quantitative", "title": "ms a batch", "axis": {"tickCount": 8}},
        "order": {"field": "i", "type": "quantitative"},
        "color": {
            "field": "w", "type": "nominal", "title": None, "sort": domain,
            "scale": {"domain": domain, "range": colours},
        },
        "description": {"field": "d"},
    }  # fmt: skip
    mark = {"type": "bar", "stroke": LINE, "strokeWidth": 0.5}
    spec = {"width": 440, "height": {"step": BAND}, "data": {"values": values}, "mark": mark, "encoding": encoding}
    return svg(spec, f"time of a batch by {key} for {len(profiles)} variants")


def layers(document: Document) -> str:
    """Milliseconds of a batch by layer, a line a variant. Modules that are no layer are one point, the last."""
    profiles = {n: p for n, p in (document.get("profiles") or {}).items() if p.get("by", {}).get("layer")}
    chosen = sorted(profiles, key=lambda name: float(profiles[name]["wall_ms"]))[:MOST_LINES]
    times = _beside_the_layers(
        {n: {p["name"]: p["ms"] for p in profiles[n]["by"]["layer"] if p["count"] and p["name"]} for n in chosen}
    )
    every = sorted({name for found in times.values() for name in found}, key=lambda n: (n == OTHERS, _natural(n)))
    if len(every) < 2:
        return ""
    # labels drop what all modules begin with: of `model.backbone.layers.3` they keep `layers.3`
    short = dict(zip(every, names(_ends(every), 30), strict=True))
    shown = dict(zip(chosen, names(chosen), strict=True))
    values = [
        {"v": shown[n], "x": short[name], "y": ms, "d": f"{n}\n{name}: {ms:.3g} ms"}
        for n, found in times.items() for name, ms in found.items()
    ]  # fmt: skip
    colour = {
        "field": "v", "type": "nominal", "title": None, "sort": list(shown.values()),
        "scale": {"domain": list(shown.values()), "range": list(SERIES[: len(shown)])},
    }  # fmt: skip
    encoding = {
        "x": {
            "field": "x",
            "type": "nominal",
            "sort": list(short.values()),
            "title": "layer" if OTHERS in every else None,
            "axis": {"labelAngle": -50},
        },
        "y": {"field": "y", "type": "quantitative", "title": "ms a batch"},
        "color": colour,
        "description": {"field": "d"},
    }
    marks = [{"mark": {"type": "line", "opacity": 0.5}}, {"mark": {"type": "point", "filled": True, "opacity": 1}}]
    spec = {"width": {"step": 24}, "height": 240, "data": {"values": values}, "encoding": encoding, "layer": marks}
    return svg(spec, f"time of a batch by layer for {len(shown)} variants")


def _beside_the_layers(times: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Times by variant and module, with one sum for all that is no numbered layer, where there are such."""
    numbered = {name for found in times.values() for name in found if any(part.isdigit() for part in name.split("."))}
    if len(numbered) < 2:
        return times
    summed = {}
    for variant, found in times.items():
        rest = sum(ms for name, ms in found.items() if name not in numbered)
        summed[variant] = {**{name: ms for name, ms in found.items() if name in numbered}, OTHERS: rest}
    return summed


def _ends(modules: Sequence[str]) -> list[str]:
    """Names without the modules that all are in."""
    split = [name.split(".") for name in modules if name != OTHERS]
    common = next((i for i, found in enumerate(zip(*split, strict=False)) if len(set(found)) > 1), 0)
    return [name if name == OTHERS else ".".join(name.split(".")[common:]) for name in modules]


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key under which layer 10 stands behind layer 9."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split(".")]


def _part(part: Entry) -> str:
    """`CUDA` for a provider; other names as they are."""
    return placed_on(part["name"]).label if part["name"] else "-"

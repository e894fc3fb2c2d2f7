"""Vega-Lite specifications as static SVG, for a page without scripts: theme, colours and tooltips.

Colours are custom properties of the page's style sheet, which differ in light and dark. vl-convert runs Vega in its
own process memory and needs no network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from .words import visible

NAMESPACE = "http://www.w3.org/2000/svg"
# Okabe and Ito (2008), told apart by colour-blind people; the page lightens them in the dark.
SERIES = tuple(f"var(--s{number})" for number in range(1, 9))
WIDEST = 0.62
"""Of a character by the font's size, on average: DejaVu Sans."""
SOFT, INK, LINE = "var(--soft)", "var(--ink)", "var(--line)"
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": SOFT, "titleColor": SOFT, "gridColor": LINE, "domainColor": LINE, "tickColor": LINE,
        "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 300, "titlePadding": 8,
    },
    "legend": {
        "labelColor": INK, "titleColor": SOFT, "labelFontSize": 12, "labelLimit": 320, "symbolStrokeWidth": 2,
        "symbolOpacity": 1,
    },
    "header": {"labelColor": INK, "titleColor": SOFT, "labelFontSize": 13, "labelAnchor": "start"},
    "title": {"color": INK, "fontSize": 13, "fontWeight": 600, "anchor": "start"},
}  # fmt: skip


def svg(spec: dict[str, Any], label: str) -> str:
    """The drawing as an SVG element; `label` says in a sentence what it shows, to who cannot see it."""
    import vl_convert

    ElementTree.register_namespace("", NAMESPACE)
    whole = {"$schema": "https://vega.github.io/schema/vega-lite/v5.json", "config": CONFIG, **_quiet(spec)}
    root = ElementTree.fromstring(vl_convert.vegalite_to_svg(whole))
    for element in root.iter():
        element.attrib.pop("style", None)  # the page's policy allows its own style sheet alone
        words = element.attrib.pop("aria-label", "")
        element.attrib.pop("aria-roledescription", None)
        if words and element.attrib.get("role") == "graphics-symbol" and len(element) == 0:
            title = ElementTree.SubElement(element, f"{{{NAMESPACE}}}title")
            title.text = "\n".join(map(visible, words.split("\n")))
    _widen(root)
    root.attrib["role"] = "img"
    root.attrib["aria-label"] = label
    return ElementTree.tostring(root, encoding="unicode")


def _quiet(spec: dict[str, Any]) -> dict[str, Any]:
    """The specification with tooltips for marks that have a description, and none made up for others."""
    if "layer" in spec:
        return {**spec, "layer": [_quiet({**layer, "outer": spec.get("encoding", {})}) for layer in spec["layer"]]}
    outer = spec.get("outer", {})
    inner = {name: part for name, part in spec.items() if name != "outer"}
    if "description" in inner.get("encoding", {}) or "description" in outer:
        return inner
    mark = inner["mark"] if isinstance(inner["mark"], dict) else {"type": inner["mark"]}
    return {**inner, "mark": {**mark, "aria": False}}


def _widen(root: ElementTree.Element) -> None:
    """Room for texts as wide as the widest of usual fonts: the browser's is another than the one measured with."""
    left, top, wide, high = (float(part) for part in root.attrib["viewBox"].split())
    found = list(_reach(root, 0.0, 0.0))
    low, right = min([left, *(a for a, _, _ in found)]), max([left + wide, *(b for _, b, _ in found)])
    bottom = max([top + high, *(c for _, _, c in found)])
    root.attrib["viewBox"] = f"{low:.0f} {top:.0f} {right - low:.0f} {bottom - top:.0f}"
    root.attrib["width"], root.attrib["height"] = f"{right - low:.0f}", f"{bottom - top:.0f}"


def _reach(element: ElementTree.Element, x: float, y: float) -> Iterator[tuple[float, float, float]]:
    """Left, right and lower end of every text, turned ones among them."""
    moved = re.search(r"translate\(([-\d.]+),?\s*([-\d.]*)\)", element.attrib.get("transform", ""))
    if moved:
        x, y = x + float(moved[1]), y + float(moved[2] or 0)
    if element.tag == f"{{{NAMESPACE}}}text":
        size = float(element.attrib.get("font-size", "12px").removesuffix("px"))
        long = WIDEST * size * len(element.text or "")
        turned = re.search(r"rotate\(([-\d.]+)\)", element.attrib.get("transform", ""))
        angle = math.radians(float(turned[1]) if turned else 0.0)
        before = {"end": 1.0, "middle": 0.5}.get(element.attrib.get("text-anchor", ""), 0.0)
        ends = [-before * long, (1 - before) * long]
        across = [x + end * math.cos(angle) for end in ends]
        yield min(across), max(across), y + max(end * math.sin(angle) for end in ends)
    for child in element:
        yield from _reach(child, x, y)


def names(values: list[str], longest: int = 44) -> list[str]:
    """Names as labels: shortened in the middle, each still its own."""
    found: list[str] = []
    for value in map(visible, values):
        half = (longest - 1) // 2
        short = value if len(value) <= longest else f"{value[:half]}…{value[-half:]}"
        while short in found:
            short += " "
        found.append(short)
    return found

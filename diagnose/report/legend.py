"""The strip's section: its legend, whose entries dim everything else, and the empty place the script draws into."""

from __future__ import annotations

from collections.abc import Iterable

from onnxfix.nouns.plan import Copy, Plan
from onnxfix.nouns.runtime.provider import providers
from onnxfix.render.markup import section

from . import strip


def drawn(plan: Plan, *, at_home: bool = False) -> str:
    """The section that the page's script draws into, with a key for everything that occurs. `at_home`: the host is what
    was asked for, and not what is left."""
    kinds = {strip.kind(node) for node in plan.nodes}
    keys = "".join(_key(f".cell.{kind}", f"cell {kind}", label) for kind, label in _kinds().items() if kind in kinds)
    keys += _arrow_keys(plan.copies)
    hint = "One cell a node, in the order of the graph. Point at, touch or walk with the arrow keys."
    place = '<div id="strip" role="group" aria-label="Placement, one item a node"></div>'
    bare = "<noscript><p>The strip is drawn by this page's script; the tables below need none.</p></noscript>"
    classes = "legend at-home" if at_home else "legend"
    return section("Placement", hint, [f'<div class="{classes}">{keys}</div>{place}{bare}'])


def _arrow_keys(copies: Iterable[Copy]) -> str:
    """Directions, in the colour of the worst; and what the pale ones mean where both are drawn."""
    found = {(c.direction, c.severity == "error") for c in copies}
    keys = ""
    for direction, arrow, where in (("to_host", "down", "host"), ("from_host", "up", "device")):
        worst = "error" if (direction, True) in found else "note"
        if (direction, True) in found or (direction, False) in found:
            keys += _key(f".copy.{arrow}", f"copy {arrow} {worst}", f"copied to the {where}")
    if len({harmful for _, harmful in found}) == 2:
        keys += _key(".copy:not(.error)", "copy down note", "a copy that does not grow with the batch")
    return keys


def _kinds() -> dict[str, str]:
    """The label of every kind of cell: the host behind the others, and what it runs by choice behind it."""
    known = {each.name: each.label for each in sorted(providers(), key=lambda each: each.is_host)}
    special = {
        "moved": "CPU, by ONNX Runtime's choice", "other": "other provider", "none": "no provider: does not load",
    }  # fmt: skip
    return known | special


def _key(selector: str, classes: str, label: str) -> str:
    return (
        f'<button type="button" class="key" data-only="{selector}" aria-pressed="false">'
        f'<i class="{classes}"></i>{label}</button>'
    )

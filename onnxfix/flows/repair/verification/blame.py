"""Where an error comes from, in words: the node at which half precision parts from the source, and the layers that
lose most when they are quantized. Empty where none can be named: custom operators, unnamed values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed

# Layers that are named, and the share of a result that one must lose by itself to be among them.
NAMED, LEAST = 3, 0.01


def half_node(source: Model, result: Model, feed: Feed) -> str:
    """The node at which a half result and its source part."""
    from onnxfix.eval.numerics.emulator import emulated
    from onnxfix.eval.numerics.side_by_side import profile, worst
    from onnxfix.eval.run.seeded import seeded

    try:
        found = worst(profile(seeded(source), emulated(seeded(result)), feed))
    except OnnxfixError:  # a graph that cannot be joined with itself
        return ""
    if found is None:
        return ""
    reach = f", whose result reaches {found.largest:,.0f}" if found.lost else ""
    return f"; the worst node is {found.site}{reach}"


def layers(source: Model, result: Model, feed: Feed) -> str:
    """The layers of a quantized result that lose most of what they make, each fed what the source has there."""
    from onnxfix.eval.numerics.side_by_side import OF_FLOAT, profile
    from onnxfix.eval.run.seeded import seeded
    from onnxfix.surgery.sites.linear import linears

    made = {v.name or "" for each in linears.find(source) for v in each.node.outputs}
    try:
        found = profile(seeded(source), seeded(result), feed, isolated=True, only=made, limit=OF_FLOAT)
    except OnnxfixError:
        return ""
    worst = sorted((s for s in found if s.rel_l2 > LEAST), key=lambda s: -s.rel_l2)[:NAMED]
    said = ", ".join(f"{s.site.node} {100 * s.rel_l2:.0f} %" for s in worst)
    return f"; by themselves lose most: {said}" if said else ""

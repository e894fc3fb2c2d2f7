"""Where both models run, as sentences and tables."""

from __future__ import annotations

from onnxfix.flows.diagnosis.difference.placed import Placement
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.runtime.provider import placed_on
from onnxfix.render.table import Cell, Column, Table, table
from onnxfix.render.words import duration, quantity


def title(found: Placement) -> str:
    """`placement on cuda, forecast for ONNX Runtime 1.31.1`."""
    words = {"measured": "measured with", "unknown": "unknown to"}.get(found.plans[0].engine, "forecast for")
    return f"placement on {found.target}, {words} ONNX Runtime {found.onnxruntime}"


def lines(found: Placement) -> list[str]:
    """Nodes by provider, and copies, each before → after."""
    names = {name: f"on {placed_on(name).label}" if name else "without a provider" for name in found.providers}
    parts = [f"{before:,} → {after:,} {names[name]}" for name, (before, after) in found.providers.items()]
    said = [f"planned nodes: {', '.join(parts)}"] if parts else []
    if any(placed_on(name).device for name in found.providers):
        sizes = found.plans[0].sizes
        cost = " → ".join(map(_cost, found.plans))
        said.append(f"Memcpy: {cost}, a batch of {sizes.batch:,} × {sizes.sequence:,} tokens")
    for which, plan in zip(("first", "second"), found.plans, strict=True):
        if plan.load_error:
            said.append(f"ONNX Runtime does not load the {which} model")
        elif plan.note:
            said.append(f"the {which}: {plan.note}")
    return said


def copies(found: Placement) -> Table:
    """By cause, those alone that changed."""
    rows: list[tuple[Cell | str, ...]] = [
        (Cell(c.cause, code=True), c.direction.replace("_", " "), f"{c.before:,}", f"{c.after:,}",
         *(quantity(size) if size else "" for size in c.bytes))
        for c in found.copies()
        if (c.before, c.bytes[0]) != (c.after, c.bytes[1])
    ]  # fmt: skip
    bounds = Column("before", True), Column("after", True)
    return table(("copies", "direction", *bounds, Column("bytes before", True), Column("bytes after", True)), rows)


def _cost(plan: Plan) -> str:
    count, size = len(plan.copies), sum(copy.nbytes or 0 for copy in plan.copies)
    time = sum(copy.milliseconds or 0.0 for copy in plan.copies)
    return f"{count:,} ({quantity(size)}, {duration(time)})" if count else "none"

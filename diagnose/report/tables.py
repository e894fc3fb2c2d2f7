"""The tables of the report, each once: copies, nodes off the first provider, and the noise of quantized layers."""

from __future__ import annotations

from collections.abc import Sequence

from onnxfix.nouns.layer_noise import Against, LayerNoise
from onnxfix.nouns.plan import Copy, NodePlacement, Plan
from onnxfix.nouns.runtime.provider import placed_on
from onnxfix.render.table import Cell, Column, Table, table
from onnxfix.render.words import duration, quantity

from .places import Place, of_copies, of_copy, of_nodes

# What a full bar stands for: int8 without outliers gives 30 to 45 dB.
FULL_DB, GOOD_DB, LOST_DB = 50.0, 20.0, 10.0
BYTES, TIME = Column("bytes", True), Column("time", True)


def causes(plan: Plan) -> Table:
    """Copies by cause, the most bytes first. Sizes are for the plan's batch and sequence."""
    rows = [
        (Cell(str(p), code=True), _direction(p.first), *_cost(p.things), p.first.cause) for p in of_copies(plan.copies)
    ]
    return table(("cause", "direction", BYTES, TIME, "why"), rows)


def copies(plan: Plan) -> Table:
    """Each copy."""
    rows = [
        (Cell(c.value, code=True), _direction(c), *_cost([c]), Cell(f"{c.cause_op_type} {c.cause_node}", code=True),
         Cell(of_copy(c), code=True))
        for c in plan.copies
    ]  # fmt: skip
    return table(("value", "direction", BYTES, TIME, "at", "in"), rows)


def off_device(plan: Plan) -> Table:
    """Like nodes with a reason not to be on the first provider: without a kernel first, then those moved on purpose."""
    rows = [
        (Cell(str(p), code=True), placed_on(p.first.provider).label, p.first.reason)
        for p in _by_fate(_off_device(plan))
    ]
    return table(("node", "on", "why"), rows)


def nodes(plan: Plan) -> Table:
    """Each of these nodes."""
    rows = (
        [
            *(Cell(name, code=True) for name in (n.name, n.op_type, n.scope)),
            Cell(placed_on(n.provider).label),
            Cell(n.reason),
        ]
        for n in _off_device(plan)
    )
    return table(("name", "operator", "in", "on", "why"), rows)


def layers(against: Against) -> Table:
    """The noise of each layer, the noisiest first; a column where some sums would saturate without VNNI."""
    columns = [Column(title, True) for title in ("own SNR", "as it runs", "without VNNI")]
    shown = table(("layer", *columns, "why"), map(_layer, against.layers))
    return shown if against.without_vnni is not None else shown.without("without VNNI")


def _layer(layer: LayerNoise) -> tuple[Cell | str, ...]:
    where = layer.site.scope or layer.site.node or layer.site.value
    name = f"{where} ({layer.site.op_type})" if layer.site.scope else where
    style = "lost" if layer.snr < LOST_DB else "noisy" if layer.snr < GOOD_DB else "fine"
    own = Cell(_decibels(layer.snr), style=style, bar=max(0.0, min(layer.snr, FULL_DB)) / FULL_DB)
    without = "" if layer.without_vnni is None else _decibels(layer.without_vnni)
    return Cell(name, code=True), own, _decibels(layer.accumulated), without, layer.cause.words


def _off_device(plan: Plan) -> list[NodePlacement]:
    found = [n for n in plan.nodes if n.reason or not n.provider]
    return sorted(found, key=lambda n: not (n.lacks_kernel or not n.provider))


def _by_fate(nodes: list[NodePlacement]) -> list[Place[NodePlacement]]:
    """Like nodes of one provider; those without a kernel stay first."""
    fates = dict.fromkeys((n.provider, n.lacks_kernel) for n in nodes)
    return [p for fate in fates for p in of_nodes(n for n in nodes if (n.provider, n.lacks_kernel) == fate)]


def _cost(found: Sequence[Copy]) -> tuple[str, str]:
    """Bytes and time, as far as known."""
    sizes = [c.nbytes for c in found if c.nbytes is not None]
    times = [c.milliseconds for c in found if c.milliseconds is not None]
    return quantity(sum(sizes)) if sizes else "", duration(sum(times)) if times else ""


def _direction(copy: Copy) -> str:
    return copy.direction.replace("_", " ")


def _decibels(number: float) -> str:
    return f"{number:.0f} dB"

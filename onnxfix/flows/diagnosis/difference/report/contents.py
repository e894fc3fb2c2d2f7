"""What a difference says, once for all formats: the verdict, sentences, and tables of each part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxfix.flows.diagnosis.difference.graph.changes import Change, Count
from onnxfix.render.table import Cell, Column, Table, table
from onnxfix.render.words import listed, plural, quantity

if TYPE_CHECKING:
    from onnxfix.flows.diagnosis.difference.difference import Difference

NOT_COUNTED = "What does not count"
BEFORE, AFTER = Column("before", True), Column("after", True)


def nodes(found: Difference) -> str:
    """`810 → 711 nodes; of those that compute 463 the same, 4 altered, 115 gone, 10 new`."""
    counts = found.nodes
    parts = ((counts.kept, "the same"), (counts.altered, "altered"), (counts.removed, "gone"), (counts.added, "new"))
    said = ", ".join(f"{count:,} {word}" for count, word in parts if count)
    return f"{found.before.nodes:,} → {found.after.nodes:,} nodes" + (f"; Constants aside {said}" if said else "")


def sizes(found: Difference) -> str:
    before, after = found.weights.before, found.weights.after
    files = f"{quantity(found.before.bytes)} → {quantity(found.after.bytes)} on disk"
    return f"{files}; weights {quantity(before.bytes)} → {quantity(after.bytes)}"


def interface(found: Difference) -> Table:
    rows = [
        (p.kind, *(Cell("" if s is None else str(s), code=True) for s in (p.before, p.after)),
         "new" if p.before is None else "gone" if p.after is None else
         listed(["names of axes" if c == "axes" else c for c in p.changes]))
        for p in found.ports
    ]  # fmt: skip
    return table(("", "before", "after", "what"), rows)


def facts(found: Difference, counts: bool) -> Table:
    rows = []
    for fact in found.facts:
        if fact.counts == counts:
            texts = (fact.before or "none", fact.after or "none") if fact.before != fact.after else ("", "differs")
            rows.append((fact.name, *texts))
    if not counts:
        names = found.names
        for count, what in ((names.nodes, "nodes called otherwise"), (names.values, "values called otherwise"),
                            (names.moved, "nodes in another order")):  # fmt: skip
            rows += [(what, "", f"{count:,}")] if count else []
    return table(("", "before", "after"), rows)


def operators(found: Difference, every: bool = False) -> Table:
    rows = [
        (Cell(c.op_type, code=True), f"{c.before:,}", f"{c.after:,}", Cell(_signed(c), style=_style(c)))
        for c in found.operators
        if every or c.before != c.after
    ]
    return table(("operator", BEFORE, AFTER, Column("", True)), rows)


def modules(found: Difference, every: bool = False) -> Table:
    rows: list[tuple[Cell | str, ...]] = [
        (Cell(where(m), code=True), f"layers {m.layers}" if len(m.scopes) > 1 and m.layers else "",
         ", ".join(map(str, m.operators)), "; ".join(besides(m)))
        for m in found.modules.without_types(every)
    ]  # fmt: skip
    rows += [(text, "", "", "") for text in types_alone(found)]
    return table(("module", "", "operators", "in nodes of both"), rows).known()


def types_alone(found: Difference) -> list[str]:
    """`in 22 more modules 60 nodes float → float16 and no more`."""
    return [
        f"in {plural(count, 'more module')} nothing but {plural(each.nodes, 'node')} {each.before} → {each.after}"
        for count, each in found.modules.types_alone()
    ]


def where(module: Change) -> str:
    """`4 × model.layers.*.attn`."""
    name = module.pattern or "(no module)"
    return f"{len(module.scopes):,} × {name}" if len(module.scopes) > 1 else name


def besides(module: Change) -> list[str]:
    """What changed in nodes that are there in both, of one module."""
    return [
        *(f"{plural(r.nodes, 'node')} {r.before} → {r.after}" for r in module.retyped),
        *(f"{f'{a.nodes:,} × ' if a.nodes > 1 else ''}{a.op_type}: {a.what}" for a in module.altered),
    ]


def _signed(count: Count) -> str:
    change = count.after - count.before
    return f"{'+' if change > 0 else '−'}{abs(change):,}" if change else ""


def _style(count: Count) -> str:
    return "" if count.before == count.after else "more" if count.after > count.before else "fewer"

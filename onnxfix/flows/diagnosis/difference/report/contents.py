"""What a difference says, once for all formats: the verdict, sentences, and tables of each part."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from onnxfix.flows.diagnosis.difference.graph.modules import Change, Count
from onnxfix.flows.diagnosis.difference.weights.changes import Group, Listed
from onnxfix.render.table import Cell, Column, Table, table
from onnxfix.render.words import listed, plural, quantity

if TYPE_CHECKING:
    from onnxfix.flows.diagnosis.difference.difference import Difference

NOT_COUNTED = "What does not count"
BEFORE, AFTER = Column("before", True), Column("after", True)
KINDS = {
    "same": "the same numbers",
    "reshaped": "the same numbers in another shape",
    "transposed": "the same numbers",
    "rounded": "the same values, rounded",
    "widened": "the same values, as they were before they were rounded",
    "quantized": "as integers",
    "cut": "the same numbers, cut out of one weight",
    "joined": "the same numbers, joined into one weight",
    "other values": "other values",
}
CHANGED = ("rounded", "widened", "quantized", "cut", "joined", "other values")
"""Kinds that the verdict names: the others are told by nodes."""
_LAYER = re.compile(r"(?<=[./])\d+(?=[./]|$)")


def verdict(found: Difference) -> str:
    """`the same graph; names differ`, or `different: 115 nodes gone, 4 altered, 28 weights rounded`."""
    if found.same:
        besides = list(_besides(found))
        verb = "differs" if len(besides) == 1 and besides[0].startswith(("order", "metadata", "storage")) else "differ"
        return f"the same graph; {listed(besides)} {verb}" if besides else "the same"
    return f"different: {', '.join(_counted(found)) or 'how its outputs are computed'}"


def _counted(found: Difference) -> Iterator[str]:
    ports = [port.kind for port in found.ports if port.counts]
    yield from (f"{plural(ports.count(kind), kind)}" for kind in ("input", "output") if kind in ports)
    yield from (f"{fact.name} {fact.before} → {fact.after}" for fact in found.facts if fact.counts)
    said = (("gone", found.nodes.removed), ("new", found.nodes.added), ("altered", found.nodes.altered))
    counts = [(word, count) for word, count in said if count]
    yield from (f"{plural(count, 'node') if not i else f'{count:,}'} {word}" for i, (word, count) in enumerate(counts))
    kinds = [(kind, sum(len(g.names) for g in found.weights.groups if g.kind == kind)) for kind in KINDS]
    yield from (
        f"{plural(count, 'weight')} {'with other values' if kind == 'other values' else kind}"
        for kind, count in kinds
        if count and kind in CHANGED
    )
    for word, left in (("gone", found.weights.removed), ("new", found.weights.added)):
        if left:
            yield f"{plural(len(left), 'weight')} {word}"


def _besides(found: Difference) -> Iterator[str]:
    if found.names.nodes or found.names.values or any("axes" in port.changes for port in found.ports):
        yield "names"
    if found.names.moved:
        yield "order of nodes"
    if found.facts:
        yield "metadata"
    before, after = found.weights.before, found.weights.after
    if (before.tensors, before.bytes, before.copies) != (after.tensors, after.bytes, after.copies):
        yield "storage of weights"


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


def weights(found: Difference) -> Table:
    """Pairs by kind, then what only one model has, alike names together."""
    rows = [_pairs(group) for group in found.weights.groups]
    for word, (count, size) in zip(("gone", "new"), found.weights.scales, strict=True):
        text = f"{word}: scales and zero points of integers"
        rows += [(f"{count:,}", text, *_sides(size, word == "gone"), "", "")] if count else []
    for word, every in (("gone", found.weights.removed), ("new", found.weights.added)):
        rows += [_alone(word, alike) for alike in _alike(every)]
    columns = (Column("tensors", True), "what", BEFORE, AFTER, Column("largest error", True), "e.g.")
    return table(columns, rows).known()


def types(found: Difference) -> Table:
    before, after = found.weights.before.types, found.weights.after.types
    rows = [
        (name, *(f"{plural(n, 'tensor')}, {quantity(size)}" if n else "" for n, size in (b, a)))
        for name in sorted({*before, *after})
        if (b := before.get(name, (0, 0))) != (a := after.get(name, (0, 0)))
    ]
    return table(("type", BEFORE, AFTER), rows)


def storage(found: Difference) -> list[str]:
    """Weights that are stored again, shared and unread, where that changed."""
    before, after = found.weights.before, found.weights.after
    lines = []
    if before.copies != after.copies:
        texts = (f"{count:,} ({quantity(size)})" for count, size in (before.copies, after.copies))
        lines.append(f"matrices stored more than once: {' → '.join(texts)}")
    for word, one, other in (
        ("weights that several nodes read", before.shared, after.shared),
        ("tensors that nothing reads", before.unread, after.unread),
    ):
        if one != other:
            lines.append(f"{word}: {one:,} → {other:,}")
    removed, added = found.weights.constants
    if removed or added:
        lines.append(f"small constants: {removed:,} gone, {added:,} new")
    return lines


def _pairs(group: Group) -> tuple[Cell | str, ...]:
    types = group.types[0] if group.types[0] == group.types[1] else f"{group.types[0]} → {group.types[1]}"
    bits = f"as integers of {group.bits} bits" if group.bits else KINDS[group.kind]
    unlike = f", but for {group.unlike:,} elements" if group.unlike and group.kind in ("rounded", "widened") else ""
    words = f"{bits}{', transposed' if group.turned else ''}{unlike}: {types}"
    error = f"{group.largest:.2g} (L2 {group.relative:.1e})" if group.largest else ""
    first, second = group.names[0]
    example = first if first == second else f"{first} → {second}"
    return (
        f"{len(group.names):,}", words, *(quantity(size) for size in group.bytes), error,
        Cell("" if group.kind == "same" else example, code=True),
    )  # fmt: skip


def _alike(every: Iterable[Listed]) -> list[list[Listed]]:
    found: dict[object, list[Listed]] = {}
    for each in every:
        found.setdefault((_LAYER.sub("*", each.name), each.type, each.shape), []).append(each)
    return list(found.values())


def _alone(word: str, alike: list[Listed]) -> tuple[Cell | str, ...]:
    first, size = alike[0], sum(each.bytes for each in alike)
    name = _LAYER.sub("*", first.name) if len(alike) > 1 else first.name
    text = f"{word}: {first.type}[{', '.join(map(str, first.shape))}]"
    return f"{len(alike):,}", text, *_sides(size, word == "gone"), "", Cell(name, code=True)


def _sides(size: int, gone: bool) -> tuple[str, str]:
    return (quantity(size), "") if gone else ("", quantity(size))


def _signed(count: Count) -> str:
    change = count.after - count.before
    return f"{'+' if change > 0 else '−'}{abs(change):,}" if change else ""


def _style(count: Count) -> str:
    return "" if count.before == count.after else "more" if count.after > count.before else "fewer"

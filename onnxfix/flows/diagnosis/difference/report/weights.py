"""What became of the weights, as tables and sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxfix.flows.diagnosis.difference.weights.changes import Group, Listed
from onnxfix.render.table import Cell, Column, Table, table
from onnxfix.render.words import plural, quantity

if TYPE_CHECKING:
    from onnxfix.flows.diagnosis.difference.difference import Difference

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
_LAYER = re.compile(r"(?<=[./])\d+(?=[./]|$)")


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

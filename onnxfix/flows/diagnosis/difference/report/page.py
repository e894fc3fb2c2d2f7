"""HTML: one file with the verdict, what changed in each module, operators, weights and placement; no network.

Every name in a model is its author's text, and reaches the page escaped.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from onnxfix.flows.diagnosis.difference.graph.changes import Change, Count
from onnxfix.render.document import whole
from onnxfix.render.markup import code, details, section, table, text
from onnxfix.render.table import Line, Table
from onnxfix.render.words import plural, quantity

from . import contents, placement, verdict, weights

if TYPE_CHECKING:
    from onnxfix.flows.diagnosis.difference.difference import Difference

NAMES = 200
"""Most characters of both paths in the title."""


def page(found: Difference, every: bool = False) -> str:
    """The whole document. `every`: operators and modules that did not change, too."""
    names = " → ".join(PurePath(side.path).name for side in (found.before, found.after))
    body = [
        f"<header><h1>{text(names)}</h1><p>{text(verdict.verdict(found))}</p></header>",
        _tiles(found),
        _interface(found),
        _modules(found, every),
        _operators(found, every),
        _weights(found),
        _placement(found),
        _besides(found),
    ]
    return whole(f"{names[:NAMES]} · onnxfix diff", ["page.css", "diff_page.css"], body)


def _tiles(found: Difference) -> str:
    counts, before, after = found.nodes, found.weights.before, found.weights.after
    under = ((counts.kept, "the same"), (counts.altered, "altered"), (counts.removed, "gone"), (counts.added, "new"))
    said = ", ".join(f"{count:,} {word}" for count, word in under if count)
    kinds = {kind: sum(len(g.names) for g in found.weights.groups if g.kind == kind) for kind in weights.KINDS}
    sorts = ", ".join(f"{count:,} {'the same' if kind == 'same' else kind}" for kind, count in kinds.items() if count)
    tiles = [
        ("graph", "the same" if found.same else "different", "" if found.same else "names inside do not count"),
        ("nodes", f"{found.before.nodes:,} → {found.after.nodes:,}", f"Constants aside {said}" if said else ""),
        ("weights", f"{quantity(before.bytes)} → {quantity(after.bytes)}", sorts),
        ("on disk", f"{quantity(found.before.bytes)} → {quantity(found.after.bytes)}", ""),
    ]
    if found.placement is not None:
        copies = " → ".join(f"{len(plan.copies):,}" for plan in found.placement.plans)
        tiles.append(("Memcpy", copies, f"on {found.placement.target}"))
    drawn = (f'<div class="tile"><span>{n}</span><b>{text(v)}</b><p>{text(u)}</p></div>' for n, v, u in tiles)
    return f'<div class="tiles">{"".join(drawn)}</div>'


def _interface(found: Difference) -> str:
    ports, versions = contents.interface(found), contents.facts(found, counts=True)
    if not ports.lines and not versions.lines:
        return section("Inputs and outputs", "The same names, types and shapes.", [])
    parts = [table(each) for each in (ports, versions) if each.lines]
    return section("Inputs and outputs", "Names of axes alone do not count.", parts)


def _modules(found: Difference, every: bool) -> str:
    changed, types = found.modules.without_types(every), contents.types_alone(found)
    if not changed and not types:
        return ""
    hint = "Operators in one module before → after, layers that changed alike as one row; Constants aside."
    if not every and found.modules.unchanged:
        hint += f" Nothing changed in {plural(found.modules.unchanged, 'other module')}."
    rows, alone = "".join(map(_module, changed)), "".join(f"<li>{text(line)}</li>" for line in types)
    return section("By module", text(hint), [f'<div class="modules">{rows}</div><ul>{alone}</ul>'])


def _module(module: Change) -> str:
    layers = f"<small>layers {text(module.layers)}</small>" if len(module.scopes) > 1 and module.layers else ""
    chips = "".join(map(_chip, module.operators))
    besides = "".join(f"<li>{text(line)}</li>" for line in contents.besides(module))
    listed = f"<ul>{besides}</ul>" if besides else ""
    return f'<div class="module"><div>{code(contents.where(module))}{layers}</div><div>{chips}{listed}</div></div>'


def _chip(count: Count) -> str:
    style = "same" if count.before == count.after else "more" if count.after > count.before else "fewer"
    return f'<span class="chip {style}">{text(count.op_type)} <b>{count.before:,} → {count.after:,}</b></span>'


def _operators(found: Difference, every: bool) -> str:
    shown = contents.operators(found, every)
    hint = "Of the whole graph: those that compute first, then those that move numbers."
    return section("Operators", hint, [table(shown)]) if shown.lines else ""


def _weights(found: Difference) -> str:
    hint = "Paired by their numbers, whatever they are called; errors are those of the worst."
    lines = "".join(f"<li>{text(line)}</li>" for line in weights.storage(found))
    shown = weights.weights(found)
    rows = "".join(_weight(shown, row) for row in shown.lines)
    parts = [f'<div class="modules">{rows}</div>', f"<ul>{lines}</ul>" if lines else ""]
    types = weights.types(found)
    if types.lines:
        parts.append(details("bytes by element type", table(types)))
    return section("Weights", text(hint), parts)


def _weight(shown: Table, row: Line) -> str:
    """A row of the table as two columns, which stand below each other where there is no room: names are long."""
    cells = {column.title: cell.text for column, cell in zip(shown.columns, row.cells, strict=True)}
    sizes = " → ".join(filter(None, (cells.get("before"), cells.get("after"))))
    error = f", largest error {cells['largest error']}" if cells.get("largest error") else ""
    name = f"<small>{code(cells['e.g.'])}</small>" if cells.get("e.g.") else ""
    left = f"<b>{text(cells['tensors'])} ×</b> {text(cells['what'])}"
    return f'<div class="module"><div>{left}</div><div>{text(sizes + error)}{name}</div></div>'


def _placement(found: Difference) -> str:
    if found.placement is None:
        return ""
    lines = "".join(f"<li>{text(line)}</li>" for line in placement.lines(found.placement))
    copies = placement.copies(found.placement)
    parts = [f"<ul>{lines}</ul>", table(copies) if copies.lines else ""]
    title = placement.title(found.placement)
    return section("Placement", text(f"{title[0].upper()}{title[1:]}."), parts)


def _besides(found: Difference) -> str:
    shown = contents.facts(found, counts=False)
    hint = "Two models that differ in nothing else are the same."
    return section(contents.NOT_COUNTED, hint, [table(shown)]) if shown.lines else ""

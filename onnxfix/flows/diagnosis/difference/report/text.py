"""Text for a terminal: the verdict, then each part in which anything changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxfix.flows.diagnosis.difference.graph.changes import Change
from onnxfix.render import terminal
from onnxfix.render.table import Line, Table
from onnxfix.render.terminal import line
from onnxfix.render.words import plural, visible

from . import contents, placement, verdict, weights

if TYPE_CHECKING:
    from rich.console import Console

    from onnxfix.flows.diagnosis.difference.difference import Difference

MODULES, OPERATORS, BESIDES, FACTS = 30, 12, 4, 12
"""Modules, operators and altered nodes of one, and facts that do not count: --all and --format json have the rest."""


def show(found: Difference, out: Console, every: bool = False) -> None:
    """Print all of it. `every`: operators and modules that did not change, too, and nothing is cut."""
    names = f"{visible(found.before.path)} → {visible(found.after.path)}"
    line(out, 0, (names, "bold"), ": ", (visible(verdict.verdict(found)), "green" if found.same else "yellow"))
    line(out, 2, contents.nodes(found))
    line(out, 2, contents.sizes(found))
    _interface(found, out)
    _weights(found, out)
    _operators(found, out, every)
    _modules(found, out, every)
    _placement(found, out)
    _besides(found, out, every)


def _interface(found: Difference, out: Console) -> None:
    if not any(port.counts for port in found.ports):
        line(out, 2, "inputs and outputs are the same")
    if found.ports:
        _title(out, "inputs and outputs")
        out.print(terminal.table(contents.interface(found)))
    for row in contents.facts(found, counts=True).lines:
        line(out, 2, " ".join((visible(row.cells[0].text), "→".join(f" {c.text or 'none'} " for c in row.cells[1:]))))


def _weights(found: Difference, out: Console) -> None:
    if all(group.kind == "same" for group in found.weights.groups) and not _left(found):
        line(out, 2, "weights are the same")
    else:
        _title(out, "weights")
        for row in weights.weights(found).lines:
            _weight(weights.weights(found), row, out)
    for text in weights.storage(found):
        line(out, 2, text)


def _weight(shown: Table, row: Line, out: Console) -> None:
    """`16 × the same values, rounded: FLOAT → FLOAT16, 2.62 MB → 1.31 MB, largest error 6.1e-05`."""
    cells = {column.title: cell.text for column, cell in zip(shown.columns, row.cells, strict=True)}
    sizes = " → ".join(filter(None, (cells.get("before"), cells.get("after"))))
    error = f", largest error {cells['largest error']}" if cells.get("largest error") else ""
    line(out, 2, f"{cells['tensors']} × {visible(cells['what'])}, {sizes}{error}")
    if cells.get("e.g."):
        line(out, 4, (visible(cells["e.g."]), "dim"))


def _left(found: Difference) -> bool:
    return bool(found.weights.removed or found.weights.added or any(count for count, _ in found.weights.scales))


def _operators(found: Difference, out: Console, every: bool) -> None:
    shown = [str(count) for count in found.operators if every or count.before != count.after]
    if shown:
        _title(out, "operators")
        line(out, 2, visible(", ".join(shown)))


def _modules(found: Difference, out: Console, every: bool) -> None:
    changed, types = found.modules.without_types(every), contents.types_alone(found)
    if not changed and not types:
        return
    untouched = found.modules.unchanged
    same = f", Constants aside; nothing changed in {plural(untouched, 'other')}" if untouched and not every else ""
    _title(out, "by module", same)
    for module in changed if every else changed[:MODULES]:
        _module(module, out, every)
    _more(out, 2, len(changed), MODULES, every)
    for text in types:
        line(out, 2, visible(text))


def _module(module: Change, out: Console, every: bool) -> None:
    layers = f" ({module.layers})" if len(module.scopes) > 1 and module.layers else ""
    shown = module.operators if every else module.operators[:OPERATORS]
    more = len(module.operators) - len(shown)
    words = ", ".join(map(str, shown)) + (f" and {plural(more, 'more operator')}" if more else "")
    besides = contents.besides(module)
    name = (visible(contents.where(module)), "cyan")
    if len(besides) == 1 and not module.altered:  # a type alone
        words, besides = "; ".join(filter(None, (words, besides[0]))), []
    line(out, 2, name, (layers, "dim"), f": {visible(words)}" if words else ":")
    for text in besides if every else besides[:BESIDES]:
        line(out, 4, visible(text))
    _more(out, 4, len(besides), BESIDES, every)


def _placement(found: Difference, out: Console) -> None:
    if found.placement is None:
        return
    _title(out, placement.title(found.placement))
    for text in placement.lines(found.placement):
        line(out, 2, visible(text))
    copies = placement.copies(found.placement)
    if copies.lines:
        out.print(terminal.table(copies if len(copies.lines) <= MODULES else copies.first(MODULES)))


def _besides(found: Difference, out: Console, every: bool) -> None:
    shown = contents.facts(found, counts=False)
    if shown.lines:
        _title(out, contents.NOT_COUNTED.lower())
        for row in shown.lines if every else shown.lines[:FACTS]:
            name, before, after = (visible(cell.text) for cell in row.cells)
            line(out, 2, f"{name}: {f'{before} → {after}' if before else after or 'none'}")
        _more(out, 2, len(shown.lines), FACTS, every)


def _title(out: Console, text: str, behind: str = "") -> None:
    out.print()
    line(out, 0, (text, "bold"), (behind, "dim"))


def _more(out: Console, indent: int, count: int, shown: int, every: bool) -> None:
    if count > shown and not every:
        line(out, indent, (f"… and {count - shown:,} more (--all lists them)", "dim"))

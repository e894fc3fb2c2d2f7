"""The tables of the page: copies, and nodes that are not on the device, first by place and then one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from onnxfix.plan import Copy, NodePlacement, Plan

from . import headline
from .places import Place, of_copies, of_copy, of_nodes
from .words import duration, plural, provider, quantity, visible

LONGEST = 500
"""Rows of one table; a page of 10,000 rows is not read, and --format json has all."""

Row = Sequence[str]


def copies(plan: Plan) -> str:
    """Copies by cause, the most bytes first, and each of them. Sizes are for the plan's batch and sequence."""
    if not plan.copies:
        return ""
    where = "Bytes and PCIe times are estimates " + headline.workload(plan).replace("a batch", "for a batch", 1) + "."
    grouped = _table(
        ("cause", "direction", "bytes", "time", "why"), map(_copies_at, of_copies(plan.copies)), numeric=(2, 3)
    )
    each = _table(("value", "direction", "bytes", "time", "at", "in"), map(_one_copy, plan.copies), numeric=(2, 3))
    return _section("Copies", where, grouped, f"{plural(len(plan.copies), 'copy')}, one by one", each)


def off_device(plan: Plan) -> str:
    """Nodes with a reason not to be on the first provider: without a kernel first, then those moved on purpose."""
    found = [n for n in plan.nodes if n.reason or not n.provider]
    if not found:
        return ""
    found.sort(key=lambda n: not (n.lacks_kernel or not n.provider))
    hint = "Shape arithmetic belongs on the host; an operator without a kernel does not."
    grouped = _table(("node", "on", "why"), map(_nodes_at, _by_fate(found)))
    each = _table(("name", "operator", "in", "on", "why"), map(_one_node, found))
    return _section("Nodes off the device", hint, grouped, f"{plural(len(found), 'node')}, one by one", each)


def _by_fate(nodes: list[NodePlacement]) -> list[Place[NodePlacement]]:
    lacking = [n for n in nodes if n.lacks_kernel or not n.provider]
    return [*of_nodes(lacking), *of_nodes(n for n in nodes if n.provider and not n.lacks_kernel)]


def _copies_at(place: Place[Copy]) -> Row:
    first = place.first
    sizes = [c.nbytes for c in place.things if c.nbytes is not None]
    total = quantity(sum(sizes)) if sizes else ""
    return (_code(str(place)), _direction(first), total, _time(place.things), _text(first.cause))


def _one_copy(copy: Copy) -> Row:
    size = "" if copy.nbytes is None else quantity(copy.nbytes)
    at = f"{copy.cause_op_type} {copy.cause_node}"
    return (_code(copy.value), _direction(copy), size, _time([copy]), _code(at), _code(of_copy(copy)))


def _time(found: Sequence[Copy]) -> str:
    known = [c.milliseconds for c in found if c.milliseconds is not None]
    return duration(sum(known)) if known else ""


def _direction(copy: Copy) -> str:
    return "to host" if copy.direction == "to_host" else "from host"


def _nodes_at(place: Place[NodePlacement]) -> Row:
    fate = provider(place.first.provider)
    return (_code(str(place)), _text(fate), _text(place.first.reason))


def _one_node(node: NodePlacement) -> Row:
    return (
        _code(node.name), _code(node.op_type), _code(node.scope), _text(provider(node.provider)), _text(node.reason)
    )  # fmt: skip


def _table(heads: Row, rows: Iterable[Row], numeric: tuple[int, ...] = ()) -> str:
    """Cells are HTML already; `numeric` columns stand to the right."""
    cells = list(rows)
    kinds = [' class="number"' if i in numeric else "" for i in range(len(heads))]
    head = "".join(f"<th{kind}>{title}</th>" for kind, title in zip(kinds, heads, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in cells[:LONGEST]
    )
    more = f'<p class="hint">… and {len(cells) - LONGEST:,} more: --format json lists all.</p>'
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return table + (more if len(cells) > LONGEST else "")


def _section(title: str, hint: str, grouped: str, summary: str, each: str) -> str:
    details = f"<details><summary>{summary}</summary>{each}</details>"
    return f'<section><h2>{title}</h2><p class="hint">{hint}</p>{grouped}{details}</section>'


def _text(words: str) -> str:
    return escape(visible(words))


def _code(words: str) -> str:
    return f"<code>{escape(visible(words))}</code>" if words else ""

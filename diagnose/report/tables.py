"""The tables of the page: copies, and nodes not on the first provider, first by place and then one by one."""

from __future__ import annotations

from collections.abc import Sequence

from onnxfix.nouns.plan import Copy, NodePlacement, Plan
from onnxfix.nouns.runtime.provider import placed_on
from onnxfix.render.markup import Row, code, details, section, table, text
from onnxfix.render.words import duration, plural, quantity

from . import headline
from .places import Place, of_copies, of_copy, of_nodes


def copies(plan: Plan) -> str:
    """Copies by cause, the most bytes first, and each of them. Sizes are for the plan's batch and sequence."""
    if not plan.copies:
        return ""
    where = "Bytes and PCIe times are estimates " + headline.workload(plan).replace("a batch", "for a batch", 1) + "."
    grouped = table(
        ("cause", "direction", "bytes", "time", "why"), map(_copies_at, of_copies(plan.copies)), numeric=(2, 3)
    )
    each = table(("value", "direction", "bytes", "time", "at", "in"), map(_one_copy, plan.copies), numeric=(2, 3))
    return section("Copies", where, [grouped, details(f"{plural(len(plan.copies), 'copy')}, one by one", each)])


def off_device(plan: Plan) -> str:
    """Nodes with a reason not to be on the first provider: without a kernel first, then those moved on purpose."""
    found = [n for n in plan.nodes if n.reason or not n.provider]
    if not found:
        return ""
    found.sort(key=lambda n: not (n.lacks_kernel or not n.provider))
    hint = "Shape arithmetic belongs on the host; an operator that only lacks a kernel does not."
    grouped = table(("node", "on", "why"), map(_nodes_at, _by_fate(found)))
    each = table(("name", "operator", "in", "on", "why"), map(_one_node, found))
    return section("Nodes that fall back", hint, [grouped, details(f"{plural(len(found), 'node')}, one by one", each)])


def _by_fate(nodes: list[NodePlacement]) -> list[Place[NodePlacement]]:
    """Like nodes of one provider; those without a kernel stay first."""
    fates = dict.fromkeys((n.provider, n.lacks_kernel) for n in nodes)
    return [p for fate in fates for p in of_nodes(n for n in nodes if (n.provider, n.lacks_kernel) == fate)]


def _copies_at(place: Place[Copy]) -> Row:
    first = place.first
    sizes = [c.nbytes for c in place.things if c.nbytes is not None]
    total = quantity(sum(sizes)) if sizes else ""
    return (code(str(place)), _direction(first), total, _time(place.things), text(first.cause))


def _one_copy(copy: Copy) -> Row:
    size = "" if copy.nbytes is None else quantity(copy.nbytes)
    at = f"{copy.cause_op_type} {copy.cause_node}"
    return (code(copy.value), _direction(copy), size, _time([copy]), code(at), code(of_copy(copy)))


def _time(found: Sequence[Copy]) -> str:
    known = [c.milliseconds for c in found if c.milliseconds is not None]
    return duration(sum(known)) if known else ""


def _direction(copy: Copy) -> str:
    return "to host" if copy.direction == "to_host" else "from host"


def _nodes_at(place: Place[NodePlacement]) -> Row:
    fate = placed_on(place.first.provider).label
    return (code(str(place)), text(fate), text(place.first.reason))


def _one_node(node: NodePlacement) -> Row:
    return (
        code(node.name), code(node.op_type), code(node.scope), text(placed_on(node.provider).label), text(node.reason)
    )  # fmt: skip

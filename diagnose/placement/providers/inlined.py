"""Undo the inlining of operators that the CPU lacks a kernel for but the target may have one.

An operator whose specification is a function of other operators (Softmax, Gelu, LayerNormalization, ...) is inlined
when no provider has a kernel for its types. The boundary graph comes from a CPU session, where that holds for float16
and bfloat16 more often than on CUDA. ONNX Runtime names what it inlines `_inlfunc_<Op>_...` or
`_inlfunc_<Op>_token_<n>_...` and keeps the names of the outputs, so each group becomes one node again here, with the
body as its `expansion`.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxfix.diagnose.placement.region import PlannedNode, Region, captured, sorted_nodes
from onnxfix.nouns.runtime.kernels import KernelTable
from onnxfix.nouns.types.schemas import canonical_domain
from onnxfix.surgery.sites.reach import reached

from .cast_like import as_called
from .inlined_names import keys, known, operator_of, shared_keys


def regroup(
    region: Region,
    originals: Mapping[str, ir.Node],
    table: KernelTable,
    shared: bool = False,
    outer: Mapping[str, ir.Value] | None = None,
) -> None:
    """Replace each group of inlined nodes by one node, in this region and all inside. `originals`: by output name.

    `shared`: constants of equal value may have become one across groups: so in models with local functions, where ONNX
    Runtime inlines before its ConstantSharing.
    """
    values = dict(outer or {})
    values.update({v.name: v for n in region.nodes for v in (*n.inputs, *n.outputs) if v is not None and v.name})
    nodes = region.nodes
    calls = _Calls({n: shared_keys(n, originals, table) for n in nodes} if shared else {})
    for key in _innermost_first(nodes, calls, originals):
        if known(key, table):
            nodes = _collapse(nodes, key, originals, table, calls)
    nodes = [as_called(node, originals, values) for node in nodes]
    for node in nodes:
        for inner in node.regions:
            regroup(inner, originals, table, shared, values)
        node.captured = captured(node.regions)
    region.nodes = sorted_nodes(nodes)


class _Calls:
    """Which inlined calls a node computes a value of and reads one of; remembered, as every call asks every node."""

    def __init__(self, unrelated: Mapping[PlannedNode, set[str]]) -> None:
        self._unrelated = unrelated
        self._made: dict[PlannedNode, set[str]] = {}
        self._read: dict[PlannedNode, set[str]] = {}

    def made(self, node: PlannedNode) -> set[str]:
        if node not in self._made:
            self._made[node] = keys(node.outputs)
        return self._made[node]

    def read(self, node: PlannedNode) -> set[str]:
        """Without those that it reads only a shared constant of."""
        if node not in self._read:
            self._read[node] = keys(node.inputs) - self._unrelated.get(node, set())
        return self._read[node]


def _innermost_first(nodes: list[PlannedNode], calls: _Calls, originals: Mapping[str, ir.Node]) -> list[str]:
    """Group names so that a group inside another one's body comes before it.

    A node of one call reads a value of another one that is inside it, or that it is inside of and passed to, as
    SoftmaxCrossEntropyLoss passes its logarithms on to NegativeLogLikelihoodLoss, which makes the loss.
    """
    makes = _makes(nodes, calls, originals)
    children: dict[str, set[str]] = {}
    for node in nodes:
        for key in calls.made(node):
            children.setdefault(key, set())
        for key in calls.read(node):
            children.setdefault(key, set())
            for other in calls.made(node) - {key}:
                outer, inner = (key, other) if (other, operator_of(key)) in makes else (other, key)
                children[outer].add(inner)
    ordered: dict[str, None] = {}
    for key in children:
        _visit(key, children, ordered, frozenset())
    return list(ordered)


def _makes(nodes: list[PlannedNode], calls: _Calls, originals: Mapping[str, ir.Node]) -> set[tuple[str, str]]:
    """(call, operator) where the call's result is an output that the file gives another operator."""
    made = ((node, originals.get(v.name or "")) for node in nodes for v in node.outputs_named())
    return {
        (key, original.op_type)
        for node, original in made
        if original is not None
        for key in calls.read(node) - calls.made(node)
        if operator_of(key) != original.op_type
    }


def _visit(key: str, children: Mapping[str, set[str]], ordered: dict[str, None], above: frozenset[str]) -> None:
    if key in ordered or key in above:
        return
    for child in sorted(children[key]):
        _visit(child, children, ordered, above | {key})
    ordered[key] = None


def _collapse(
    nodes: list[PlannedNode],
    key: str,
    originals: Mapping[str, ir.Node],
    table: KernelTable,
    calls: _Calls,
) -> list[PlannedNode]:
    inner = [n for n in nodes if key in calls.made(n)]
    roots = [n for n in nodes if key in calls.read(n) and key not in calls.made(n)]
    if not roots:
        return nodes
    schema = table.schema(operator_of(key), "", table.opset)
    whole = schema is not None and len(schema.outputs) > 1
    groups = [roots] if whole else [[root] for root in roots]
    used: set[PlannedNode] = set()
    made: dict[PlannedNode, PlannedNode] = {}
    for group in groups:
        members = _members(group, inner)
        used |= set(members)
        made[group[-1]] = _node(operator_of(key), members, group, originals, table)
    # each stands where its last root stood; sorting again for each of 56 calls took longer than everything else
    return [made.get(n, n) for n in nodes if n not in used or n in made]


def _members(roots: list[PlannedNode], inner: list[PlannedNode]) -> list[PlannedNode]:
    """The roots and everything of the group that they are computed from."""
    producer = {value: node for node in inner for value in node.outputs}
    found = reached(roots, lambda node: (producer[v] for v in node.inputs if v is not None and v in producer))
    return sorted(found, key=lambda n: n.order)


def _node(
    op_type: str,
    members: list[PlannedNode],
    roots: list[PlannedNode],
    originals: Mapping[str, ir.Node],
    table: KernelTable,
) -> PlannedNode:
    outputs = tuple(v for root in roots for v in root.outputs_named())
    made = {v for node in members for v in node.outputs}
    outside = list(dict.fromkeys(v for n in members for v in n.inputs if v is not None and v not in made))
    outside = [v for v in outside if operator_of(v.name or "") != op_type or not v.is_initializer()]
    original = next((n for v in outputs if (n := originals.get(v.name or "")) and n.op_type == op_type), None)
    if original is None:
        # its output was renamed by a rewrite; the file tells which of two operators of one name it uses
        used = next((n.domain for n in originals.values() if n.op_type == op_type), None)
        domain = canonical_domain(used or "") if used is not None or table.knows(op_type, "") else "com.microsoft"
        return PlannedNode("", op_type, domain, tuple(outside), outputs, {}, roots[-1].order, expansion=tuple(members))
    by_name = {v.name: v for v in outside}
    rest = [v for v in outside if v.name not in {i.name for i in original.inputs if i is not None}]
    inputs = tuple(_actual(formal, by_name, rest) for formal in original.inputs)
    outputs = _in_order(outputs, [o.name for o in original.outputs])
    return PlannedNode(
        name=original.name or "",
        op_type=op_type,
        domain=canonical_domain(original.domain),
        inputs=inputs,
        outputs=outputs,
        attributes=original.attributes,
        order=roots[-1].order,
        expansion=tuple(members),
    )


def _in_order(outputs: tuple[ir.Value, ...], names: list[str | None]) -> tuple[ir.Value, ...]:
    """As the operator has them, without what a function within it makes for itself."""
    return tuple(sorted((v for v in outputs if v.name in names), key=lambda v: names.index(v.name)))


def _actual(formal: ir.Value | None, by_name: Mapping[str | None, ir.Value], rest: list[ir.Value]) -> ir.Value | None:
    """The input of today for an original one: of the same name, or the next that a rewrite has put in its place."""
    if formal is None:
        return None
    return by_name.get(formal.name) or (rest.pop(0) if rest else None)

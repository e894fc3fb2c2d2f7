"""The torch scope of every node that runs, also of one that an optimisation made: by dataflow.

Optimised graphs keep the names of values and little else. A node that makes a value of the file has the scope of what
made that value there, or of the product that was fused into it; one that makes new values only has that of its nearest
neighbour, readers before sources, since a Transpose or Cast is put in for what reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set

import onnx_ir as ir

from onnxfix.nouns.site import call_of, layers_as_one, scope_of
from onnxfix.surgery.sites.shapes.product_operations import is_product

from .computed_constants import Leaves

TOP = "(top level)"
"""Scope of nodes that the exporter recorded in no module but the whole model."""
UNKNOWN = "(no scope recorded)"


def source_scopes(source: ir.Model) -> dict[ir.Node, str]:
    """Of every node of the file as far as a scope is known; one without a record, such as a quantizer's, is given that
    of its nearest neighbour."""
    nodes = list(source.graph.all_nodes())
    return _spread({n: scope_of(n) or TOP for n in nodes if scope_of(n) or call_of(n)}, nodes)


def scopes(ran: ir.Model, source: ir.Model) -> dict[ir.Node, str]:
    """Of every node of an optimised graph as far as a scope is known."""
    known = source_scopes(source)
    by_output = {v.name: n for n in known for v in n.outputs if v.name}
    by_name = {(n.name, n.op_type): n for n in known if n.name}
    nodes = list(ran.graph.all_nodes())
    leaves = Leaves()
    values = {v.name for n in nodes for v in (*n.inputs, *n.outputs) if v is not None}
    names = {(n.name or "", n.op_type) for n in nodes}
    gone = {n for n in known if (n.name or "", n.op_type) not in names and not values & {v.name for v in n.outputs}}
    gone -= {n for n in gone if leaves(n.outputs[0])}
    seeds = {}
    for node in nodes:
        made = (by_output.get(v.name) for v in node.outputs if v.name)
        original = next((n for n in made if n is not None), by_name.get((node.name or "", node.op_type)))
        if original is not None:
            seeds[node] = _fused(original, gone, known)
    return _spread(seeds, nodes)


def _fused(last: ir.Node, gone: Set[ir.Node], known: Mapping[ir.Node, str]) -> str:
    """Of the one product in a fused node, which takes its time, else of what makes its result: an Add of the residual
    that is fused to `attn.Wo` takes the time of `attn.Wo`. `gone`: nodes that do not run by themselves."""
    if is_product(last):
        return known[last]
    products: set[str] = set()
    seen, pending = {last}, [last]
    while pending:
        node = pending.pop()
        sources = {v.producer() for v in node.inputs if v is not None}
        inside = {n for n in sources if n is not None and n in gone and n not in seen}
        products |= {known[n] for n in inside if is_product(n)}
        seen |= inside
        pending.extend(inside)
    return products.pop() if len(products) == 1 else known[last]


def shown(scope: str) -> str:
    """A scope as tables show it: layer numbers left out, so that the same module of all layers is one row."""
    return layers_as_one(scope) if scope else UNKNOWN


def _spread(known: dict[ir.Node, str], nodes: Iterable[ir.Node]) -> dict[ir.Node, str]:
    """Give each node that is not known the scope of the nearest that is, a ring of neighbours at a time."""
    wanted, found = set(nodes), dict(known)
    ring = list(found)
    while ring:
        ring = list(dict.fromkeys(n for node in ring for n in _neighbours(node) if n in wanted and n not in found))
        found |= {node: next(found[n] for n in _neighbours(node) if n in found) for node in ring}
    return found


def _neighbours(node: ir.Node) -> Iterator[ir.Node]:
    """Readers, then sources."""
    for value in node.outputs:
        for use in value.uses():
            yield use.node
    for read in node.inputs:
        if read is not None and (producer := read.producer()) is not None:
            yield producer

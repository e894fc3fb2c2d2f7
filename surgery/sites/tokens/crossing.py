"""Crossing: attention whose queries are of other tokens than its keys, as a decoder's are of none of its encoder's.

What hides keys says of those queries nothing, even where an interface calls both lengths by one name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx_ir as ir

from onnxfix.nouns.model import Model

from .axes import Layout
from .mask_numbers import MaskNumbers

Operands = tuple[ir.Node, ir.Value, ir.Value, ir.Value]
"""Of attention: its node, queries, keys and result."""


def operands(hidden: Iterable[ir.Node], layout: Layout) -> list[Operands]:
    """Of those among `hidden`, each a Softmax of the product of queries and keys, or one operator."""
    found = [_around(node, layout) if node.op_type == "Softmax" else _of_operator(node) for node in hidden]
    return [each for each in found if each is not None]


def _of_operator(node: ir.Node) -> Operands | None:
    query, key = (*node.inputs[:2], None, None)[:2]
    return (node, query, key, node.outputs[0]) if query is not None and key is not None else None


def _around(softmax: ir.Node, layout: Layout) -> Operands | None:
    """From the product that makes pairs of tokens to the one that ends them."""
    before = _product(softmax.inputs, layout, lambda v: [] if (node := v.producer()) is None else [node], True)
    behind = _product(softmax.outputs, layout, lambda v: v.consumers(), False)
    if before is None or behind is None or before.inputs[0] is None or before.inputs[1] is None:
        return None
    return softmax, before.inputs[0], before.inputs[1], behind.outputs[0]


def _product(
    values: Iterable[ir.Value | None], layout: Layout, near: Callable[[ir.Value], Iterable[ir.Node]], back: bool
) -> ir.Node | None:
    """The first one with pairs on one side alone, along what has them."""
    pending, seen = [value for value in values if value is not None], set[ir.Value]()
    while pending:
        value = pending.pop()
        if value in seen or not layout.is_of_pairs(value):
            continue
        seen.add(value)
        for node in near(value):
            beyond = [v for v in (node.inputs if back else node.outputs) if v is not None]
            if node.op_type == "MatMul" and not any(layout.is_of_pairs(v) for v in beyond):
                return node
            pending.extend(beyond)
    return None


class Origins:
    """Which inputs of the model the tokens in a value are of. Attention's result is of its queries' tokens."""

    def __init__(self, layout: Layout, numbers: MaskNumbers, attentions: Iterable[Operands]) -> None:
        self._layout, self._numbers = layout, numbers
        self._queries = {made: query for _, query, _, made in attentions}
        self._found: dict[ir.Value, frozenset[ir.Value]] = {}

    def of(self, value: ir.Value) -> frozenset[ir.Value]:
        pending = [value]
        while pending:  # without recursion: graphs are thousands of nodes deep
            last = pending[-1]
            behind = [] if last in self._found else self._behind(last)
            missing = [v for v in behind if v not in self._found]
            pending.extend(missing)
            if not missing:
                pending.pop()
                alone = frozenset({last} if last.is_graph_input() and self._is_of_tokens(last) else ())
                self._found.setdefault(last, alone.union(*(self._found[v] for v in behind)))
        return self._found[value]

    def _behind(self, value: ir.Value) -> list[ir.Value]:
        if value in self._queries:
            return [self._queries[value]]
        node = value.producer()
        return [v for v in node.inputs if v is not None and self._is_of_tokens(v)] if node is not None else []

    def _is_of_tokens(self, value: ir.Value) -> bool:
        return not self._layout.is_of_none(value) and not self._numbers.is_of_mask(value)


def crossing(
    model: Model, layout: Layout, numbers: MaskNumbers, hidden: frozenset[ir.Node]
) -> tuple[frozenset[ir.Node], frozenset[ir.Node]]:
    """Attentions of `hidden` whose queries are of other tokens, and the nodes that compute these, each of its own."""
    found = operands(hidden, layout)
    origins = Origins(layout, numbers, found)
    nodes, others = set[ir.Node](), set[ir.Value]()
    for node, query, key, _ in found:
        mine, theirs = origins.of(query), origins.of(key)
        if mine and theirs and not mine & theirs:
            nodes.add(node)
            others |= mine
    if not nodes:
        return frozenset(), frozenset()
    made = (node for node in model.graph if any(origins.of(value) & others for value in node.outputs))
    return frozenset(nodes), frozenset(made) - nodes

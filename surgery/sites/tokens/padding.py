"""Padding: the input that says which tokens are real, found by what it does to attention, and how values lie along its
axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.sizes.probe import free_axes

from .axes import Layout

# Where a mask is no mask any more: its size alone, or what is learned.
_ENDS = frozenset("Shape Size MatMul Gemm Conv Einsum".split())
ATTENTION = frozenset({"Attention", "MultiHeadAttention", "GroupQueryAttention"})
# The mask again, in another type or with more axes.
_COPIES = frozenset("Cast CastLike Identity Unsqueeze Squeeze Reshape Expand".split())


@dataclass(frozen=True)
class Padding:
    """`value`, [batch, length], is 0 where a token is padding. `hidden`: nodes of attention that it is part of, each a
    Softmax or one operator; `copies`: what has its numbers, in another type or shape."""

    value: ir.Value
    layout: Layout
    hidden: frozenset[ir.Node]
    copies: frozenset[ir.Value]
    hides_all: bool
    """Whether it is part of every attention."""


def find(model: Model) -> Padding | None:
    """None without such an input, with several, and where its sizes are no free axes of the model."""
    names = {place: axis.name for axis in free_axes(model.graph) for place in axis.places}
    inputs = [v for v in model.graph.inputs if not v.is_initializer() and len(v.shape or ()) == 2]
    places = {v: (names[v, 0], names[v, 1]) for v in inputs if (v, 0) in names and (v, 1) in names}
    reached = {value: _reached(value) for value, (batch, length) in places.items() if batch != length}
    found = [(value, hidden) for value, hidden in reached.items() if hidden]
    if len(found) != 1:
        return None
    value, hidden = found[0]
    layout = Layout(model, *places[value])
    attentions = {n for n in model.graph if n.op_type in ATTENTION or _is_softmax_of_scores(n, layout)}
    return Padding(value, layout, hidden, frozenset(_copies(value)), attentions <= hidden)


def _is_softmax_of_scores(node: ir.Node, layout: Layout) -> bool:
    return node.op_type == "Softmax" and is_standard(node) and layout.is_of_pairs(node.outputs[0])


def _reached(value: ir.Value) -> frozenset[ir.Node]:
    """Attention nodes that it is part of the mask of, with no product with what is learned between."""
    found: set[ir.Node] = set()
    seen, pending = {value}, [value]
    while pending:
        for node, index in pending.pop().uses():
            if (node.op_type == "Softmax" and is_standard(node)) or (node.op_type in ATTENTION and index > 2):
                found.add(node)
                continue
            is_row = node.op_type in ("Gather", "GatherND") and index == 1  # of a table, which is learned
            if node.op_type in _ENDS or not is_standard(node) or is_row:
                continue
            new = [made for made in node.outputs if made not in seen]
            seen.update(new)
            pending.extend(new)
    return frozenset(found)


def _copies(value: ir.Value) -> Iterator[ir.Value]:
    yield value
    for node, index in value.uses():
        if index == 0 and node.op_type in _COPIES and is_standard(node):
            yield from _copies(node.outputs[0])

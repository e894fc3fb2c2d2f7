"""From a Softmax on to the product with values, and to where its result is [batch, sequence, heads, size]."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.surgery.sites.layouts.ground import Ground
from onnxfix.surgery.sites.layouts.layout import Layout
from onnxfix.surgery.sites.layouts.scalars import number
from onnxfix.surgery.sites.layouts.views import RESHAPES, SAME, moved, unchanged

from ..refusal import UnreadableError
from .inner_shapes import readers
from .products import Product, product
from .score_terms import Term


@dataclass(frozen=True)
class Sum:
    """The product of weights and values; `guarded`: rows of no weight, because all keys are masked, are zeros;
    `zeroed`: by this mask, where not by what NaN is."""

    product: Product
    guarded: bool
    nodes: tuple[ir.Node, ...]
    zeroed: ir.Value | None = None


@dataclass(frozen=True)
class Result:
    """`value` holds the result, `way` the nodes from the product to it: heads and size `joined`, apart, or joined in
    `rows` of tokens of all batches; or, where `turned`, [batch, heads, sequence, size]."""

    value: ir.Value
    way: tuple[ir.Node, ...] = ()
    joined: bool = False
    rows: bool = False
    turned: bool = False


def weighted_sum(softmax: ir.Node, terms: list[Term], ground: Ground) -> Sum:
    """Read on from a Softmax. Raises UnreadableError."""
    value, guarded, nodes = softmax.outputs[0], False, [softmax]
    zeroed: ir.Value | None = None
    while True:
        guard = _guard(value, terms, ground)
        if guard is not None:
            value, guarded, nodes = guard[-1].outputs[0], True, [*nodes, *guard]
            zeroed = guard[-1].inputs[0] if len(guard) == 1 else zeroed
        node = _only_reader(value, nodes[-1])
        made = product(node, ground, left=value)
        if made is not None and made.perms[0] in ((), tuple(range(len(made.perms[0])))):
            return Sum(made, guarded, (*nodes, node), zeroed)
        before, after = ground.shape(value), ground.shape(node.outputs[0])
        kept = node.op_type in RESHAPES and before and after and before[-2:] == after[-2:]
        if not kept and not (node.op_type in SAME and (node.op_type == "Cast" or unchanged(node, ground))):
            raise UnreadableError(node, "reads attention weights, and is no product with values")
        value, nodes = node.outputs[0], [*nodes, node]


def _guard(value: ir.Value, terms: list[Term], ground: Ground) -> list[ir.Node] | None:
    """Where(IsNaN(weights), 0, weights), or Where(masked, 0, weights) with what masks the scores as well."""
    choices = [node for node in readers(value) if node.op_type != "IsNaN"]
    tests = [node for node in value.consumers() if node.op_type == "IsNaN"]
    if len(choices) != 1 or choices[0].op_type != "Where" or value.is_graph_output():
        return None
    condition, zero, kept = choices[0].inputs
    masks = [term.value for term in terms if term.keeps is False]
    told = [node.outputs[0] for node in tests if len(node.outputs[0].uses()) == 1]
    if kept is not value or number(zero, ground) != 0 or condition not in [*told, *masks] or len(tests) > 1:
        return None
    return [*tests, choices[0]]


def _only_reader(value: ir.Value, node: ir.Node) -> ir.Node:
    """The node that reads a value, where nothing else does but what asks for its shape."""
    found = readers(value)
    if value.is_graph_output() or len(found) != 1:
        raise UnreadableError(node, "has a result that is read more than once")
    return found[0]


def result(of: Product, split: tuple[int, int], ground: Ground) -> Result:
    """The last value behind a product that is [batch, sequence, heads, size] as it stands in memory; else the
    product's own. Raises UnreadableError."""
    value, (rows, size) = of.node.outputs[0], of.shape[-2:]
    own = Layout.of(ground.shape(value) or ())
    apart = own.transposed([of.order.index(i) for i in range(len(own.axes))] if of.order else range(len(own.axes)))
    layout: Layout | None = own
    flat = apart.reshaped((*split, rows, size))
    best, way = Result(value, turned=True), list[ir.Node]()
    while layout is not None:
        if flat is not None and layout.flat == flat.transposed([0, 2, 1, 3]).flat:
            best = _as_it_stands(value, tuple(way), (split[0], rows, split[1], size), ground) or best
        found = readers(value)
        if len(found) != 1 or value.is_graph_output() or found[0].inputs[0] is not value:
            break
        way, value = [*way, found[0]], found[0].outputs[0]
        layout = moved(found[0], value, layout, ground)
    if best.turned and (of.order or len(of.shape) != 4):
        raise UnreadableError(of.node, "has a result that is not taken apart into batch and heads")
    return best


def _as_it_stands(
    value: ir.Value, way: tuple[ir.Node, ...], wanted: tuple[int, int, int, int], ground: Ground
) -> Result | None:
    shape, (batch, rows, heads, size) = ground.shape(value), wanted
    if shape == (batch, rows, heads * size):
        return Result(value, way, joined=True)
    if shape == wanted:
        return Result(value, way)
    return Result(value, way, rows=True) if shape == (batch * rows, heads * size) else None

"""From a Softmax back to the product of queries and keys: one scale, and all that is added to scores or masks them.

Numbers may stand on the scores, before or behind what is added; casts, Dropouts and reshapes that keep the last two
axes may stand anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.layouts.ground import Ground
from onnxfix.surgery.sites.layouts.scalars import number
from onnxfix.surgery.sites.layouts.views import RESHAPES, scaled, unchanged

from ..refusal import UnreadableError
from .products import Product, product

# exp of anything this far below the highest score is 0 in fp32: -103.3 is enough.
MASKED = -1e4
# Nothing that a Max with it changes is told from a masked score.
BOTTOM = -1e30
NO_PRODUCT = "makes scores that are no product of queries and keys"


_WIDE = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
_REASONS = {
    "Tanh": "caps scores, which only some kernels do, and in another place",
    "Cast": "rounds scores to half",
    "Softmax": "makes scores of other weights",
}


@dataclass(frozen=True)
class Term:
    """What is added to scores, `value` times `factor`; or, where `keeps` is not None, where the boolean `value` is
    `keeps` scores stay, and all others are the low number `factor`. `lead`: batch (-1: that of the scores) and heads
    that its leading axes are to be reshaped to, None where it broadcasts to [batch, heads, queries, keys] as it is."""

    value: ir.Value
    factor: float = 1.0
    keeps: bool | None = None
    lead: tuple[int, int] | None = None


@dataclass(frozen=True)
class Scores:
    """`product` makes them, times `factor`; `terms` in the order in which they meet the scores, each with the shape
    that scores have there; `nodes` from the product to the Softmax."""

    product: Product
    factor: float
    terms: tuple[tuple[Term, tuple[int, ...]], ...]
    nodes: tuple[ir.Node, ...]


def scores(value: ir.Value | None, ground: Ground, reader: ir.Node) -> Scores:
    """Read scores back from a value. Raises UnreadableError with the node that cannot be read."""
    node = value.producer() if value is not None else None
    shape = ground.shape(value)
    if value is None or node is None:
        raise UnreadableError(reader, "reads scores that the graph does not compute")
    if shape is None or len(shape) < 3:
        raise UnreadableError(node, "makes scores whose shape is not known, or that have no batch")
    made = product(node, ground)
    if made is not None:
        if made.order:
            raise UnreadableError(node, "makes scores in another order than batch, heads, queries and keys")
        return Scores(made, made.factor, (), (node,))
    found = _step(node, value, shape, ground)
    return replace(found, nodes=(*found.nodes, node))


def _step(node: ir.Node, value: ir.Value, shape: tuple[int, ...], ground: Ground) -> Scores:
    kind = node.op_type if is_standard(node) else ""
    if unchanged(node, ground) or (kind == "Cast" and integer(node, "to", 0) in _WIDE):
        return scores(node.inputs[0], ground, node)
    if kind in RESHAPES:
        before = ground.shape(node.inputs[0])
        if before is None or before[-2:] != shape[-2:]:
            raise UnreadableError(node, "rearranges queries or keys between the product and the Softmax")
        return scores(node.inputs[0], ground, node)
    if kind in ("Mul", "Div", "Neg"):
        step = (node.inputs[0], -1.0) if kind == "Neg" else scaled(node, ground)
        if step is None:
            raise UnreadableError(node, "multiplies scores by more than one number")
        return _times(scores(step[0], ground, node), step[1], node)
    if kind in ("Add", "Sub"):
        return _added(node, shape, ground)
    if kind == "Where":
        return _chosen(node, shape, ground)
    if kind == "Max" and len(node.inputs) == 2:
        for data, other in (node.inputs, node.inputs[::-1]):
            bottom = number(other, ground)
            if bottom is not None and bottom <= BOTTOM:
                return scores(data, ground, node)
    raise UnreadableError(node, _REASONS.get(kind, NO_PRODUCT))


def _times(found: Scores, factor: float, node: ir.Node) -> Scores:
    if factor < 0 and found.terms:
        raise UnreadableError(node, "turns scores round that hold a mask")
    terms = tuple((replace(term, factor=term.factor * factor), shape) for term, shape in found.terms)
    return replace(found, factor=found.factor * factor, terms=terms)


def _added(node: ir.Node, shape: tuple[int, ...], ground: Ground) -> Scores:
    """The side that is read as a product is the scores; the other one may be a product of both as well, as in
    disentangled attention."""
    sides = [(node.inputs[0], node.inputs[1])] + ([(node.inputs[1], node.inputs[0])] if node.op_type == "Add" else [])
    failed: UnreadableError | None = None
    for data, other in sides:
        if data is None or other is None or ground.shape(data) != shape or ground.shape(other) is None:
            continue
        try:
            found = scores(data, ground, node)
        except UnreadableError as error:
            failed = error if failed is None or failed.reason == NO_PRODUCT else failed
            continue
        term = Term(other, -1.0 if node.op_type == "Sub" else 1.0)
        return replace(found, terms=(*found.terms, (term, shape)))
    raise failed or UnreadableError(node, "adds what repeats scores")


def _chosen(node: ir.Node, shape: tuple[int, ...], ground: Ground) -> Scores:
    condition, kept, other = node.inputs
    for data, low, keeps in ((kept, other, True), (other, kept, False)):
        masked = number(low, ground)
        if condition is None or masked is None or ground.shape(data) != shape or ground.shape(condition) is None:
            continue
        found = scores(data, ground, node)
        return replace(found, terms=(*found.terms, (Term(condition, masked, keeps), shape)))
    raise UnreadableError(node, "chooses between scores and something that is no number")


def settled(terms: tuple[tuple[Term, tuple[int, ...]], ...], batch: int, heads: int, ground: Ground) -> list[Term]:
    """Terms for scores [batch, heads, queries, keys]. Raises UnreadableError."""
    return [_settled(term, shape, batch, heads, ground) for term, shape in terms]


def _settled(term: Term, shape: tuple[int, ...], batch: int, heads: int, ground: Ground) -> Term:
    own = ground.shape(term.value)
    assert own is not None
    if term.keeps is not None and term.factor > MASKED:
        reader = term.value.consumers()[0]
        raise UnreadableError(reader, f"puts {term.factor:g} in the place of scores, which still counts")
    lead = (1,) * (len(shape) - len(own)) + own
    lead, scored = lead[:-2], shape[:-2]
    if len(shape) == 4 and scored == (batch, heads):
        return term
    if all(n == 1 for n in lead):
        return term if len(own) < 5 else replace(term, lead=(1, 1))
    if lead == scored:
        return replace(term, lead=(-1, heads))
    if scored[0] == batch and lead == (batch,) + (1,) * (len(scored) - 1):
        return replace(term, lead=(-1, 1))
    reader = term.value.consumers()[0]
    raise UnreadableError(reader, "adds to some of the heads or rows of a batch only")


def softmax_is_last(softmax: ir.Node, rank: int, opset: int) -> bool:
    """Whether a Softmax runs over keys, the last axis; before operator set 13 it ran over all from the second on."""
    return integer(softmax, "axis", -1 if opset > 12 else 1) in (-1, rank - 1)

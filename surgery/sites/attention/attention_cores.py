"""Attention written out: softmax(query · keyᵀ · scale + mask) · value, read from what computes what.

Exporters differ in how heads are split and turned, where the scale stands, how shapes are computed and what is added
when; the same products, sums and elements are read as the same attention.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.constants import trace
from onnxfix.surgery.sites.layouts.ground import Ground, grounds
from onnxfix.surgery.sites.layouts.views import stages

from .caches import appended
from .operators.fused_attention import FusedAttention, fused_attention
from .refusal import Refusal, UnreadableError
from .written_out.inner_shapes import InnerShape, asking_type, inner_shapes, readers
from .written_out.operands import Operand, operand
from .written_out.score_terms import Scores, Term, scores, settled, softmax_is_last
from .written_out.weighted_sums import Result, Sum, result, weighted_sum


@dataclass(frozen=True)
class AttentionCore:
    """One Softmax and the two products around it. `terms`: what is added to the scores or masks them, in order; `heads`
    of queries, of which keys and values may have fewer."""

    softmax: ir.Node
    result: Result
    query: Operand
    key: Operand
    value: Operand
    terms: tuple[Term, ...]
    scale: float
    heads: int
    guarded: bool
    """A row whose keys are all hidden, by -inf, is zeros and not NaN."""
    covered: bool
    """The terms together have all rows and columns of the scores: nothing is to be repeated over queries or keys."""
    shapes: tuple[InnerShape, ...] = field(default=(), compare=False)
    """Of what is inside, read outside."""
    types: tuple[ir.Node, ...] = ()
    """CastLikes outside to the type of what is inside, which is that of the query."""


def find(model: Model) -> Iterator[AttentionCore]:
    """All that can be read, in graph order."""
    return (site for site in sites(model) if isinstance(site, AttentionCore))


def sites(model: Model) -> Iterator[AttentionCore | FusedAttention | Refusal]:
    """All of the main graph and of bodies in it, in graph order: for each Softmax an attention or the reason against
    it, and each operator that is one already."""
    known: tuple[Ground, ...] = ()
    for node in model.graph.all_nodes():
        if node.op_type == "Softmax" and is_standard(node):
            known = known or grounds(model)
            yield _site(node, model.opset, known)
        elif (fused := fused_attention(node)) is not None:
            yield fused


def _site(softmax: ir.Node, opset: int, known: tuple[Ground, ...]) -> AttentionCore | Refusal:
    """What both sets of sizes say."""
    try:
        first, second = (_core(softmax, opset, ground) for ground in known)
    except UnreadableError as error:
        return Refusal(softmax, error.node, error.reason)
    if first != second:
        return Refusal(softmax, softmax, "has a number of heads, or a scale, that changes with the sizes of the inputs")
    both = [mine.and_as(other) for mine, other in zip(first.shapes, second.shapes, strict=False)]
    known_shapes = tuple(shape for shape in both if shape is not None)
    if len(known_shapes) != max(len(first.shapes), len(second.shapes)):
        return Refusal(softmax, first.shapes[0].node, "asks for a shape inside that cannot be told without it")
    return replace(first, shapes=known_shapes)


def _core(softmax: ir.Node, opset: int, ground: Ground) -> AttentionCore:
    shape = ground.shape(softmax.inputs[0])
    if shape is None or not softmax_is_last(softmax, len(shape), opset):
        raise UnreadableError(softmax, "does not run over the last axis of scores of known shape")
    read = scores(softmax.inputs[0], ground, softmax)
    for node in read.nodes:
        _check_read_once(node)
    found = weighted_sum(softmax, [term for term, _ in read.terms], ground)
    if found.product.shape[-2] != shape[-2]:
        raise UnreadableError(found.product.node, "has another number of rows than there are queries")
    split = _split(read, found, ground)
    query = operand(read.product, 0, split, ground)
    key = operand(read.product, 1, split, ground, turned=True)
    value = operand(found.product, 1, split, ground, scaled=False)
    if query.operand.repeats > 1:
        raise UnreadableError(read.product.node, "repeats queries for several keys")
    if key.operand.repeats != value.operand.repeats:
        raise UnreadableError(found.product.node, "has values of other heads than keys")
    if found.guarded and any(term.keeps is None and term.factor <= 0 for term, _ in read.terms):
        raise UnreadableError(softmax, "has rows that are not told from those without a key")
    last = result(found.product, split, ground)
    terms = tuple(_as_guarded(term, found) for term in settled(read.terms, *split, ground))
    return AttentionCore(
        softmax, last, query.operand, key.operand, value.operand, terms, read.factor * query.factor * key.factor,
        split[1], found.guarded, _covers(terms, shape, ground),
        _inner(read, found, last, split, shape, ground),
        asking_type((*read.nodes, *found.nodes, *last.way), last.value),
    )  # fmt: skip


def _as_guarded(term: Term, found: Sum) -> Term:
    """Weights that are zero wherever a mask hides keys are so in a row of nothing else, whatever number hides them."""
    return replace(term, factor=-math.inf) if term.value is found.zeroed and term.keeps is False else term


def crosses(core: AttentionCore) -> bool:
    """Whether queries are of other tokens than keys: one that sees nothing need not be padding."""
    return sources(core.query.value) != sources(_of_now(core.key.value))


def _of_now(key: ir.Value) -> ir.Value:
    """Keys without a cache of those before: a query that does not see its own is padding, whatever was before it."""
    both = appended(key)
    return key if both is None else both[1]


def _check_read_once(node: ir.Node) -> None:
    if len(readers(node.outputs[0])) > 1 or node.outputs[0].is_graph_output():
        raise UnreadableError(node, "makes scores that are read more than once")


def _covers(terms: tuple[Term, ...], scores: tuple[int, ...], ground: Ground) -> bool:
    """Whether what is added has an element for each query and key of its heads and rows."""
    shapes = [ground.shape(term.value) or () for term in terms]
    full = len(shapes) > 0 and max(len(shape) for shape in shapes) == 4 and all(term.lead is None for term in terms)
    padded = [(1, 1, *shape) for shape in shapes]
    return full and all(max(shape[axis] for shape in padded) == scores[axis] for axis in (-2, -1))


def _inner(
    read: Scores, found: Sum, last: Result, split: tuple[int, int], scores: tuple[int, ...], ground: Ground
) -> tuple[InnerShape, ...]:
    sizes = {"batch": split[0], "queries": scores[-2], "keys": scores[-1], "rows": split[0] * split[1]}
    return inner_shapes((*read.nodes, *found.nodes, *last.way), last.value, sizes, ground)


def _split(read: Scores, found: Sum, ground: Ground) -> tuple[int, int]:
    """Batch and heads: the leading axes of the first product; one axis of both where any value on the way has them
    apart, and one head where none has."""
    lead = read.product.shape[:-2]
    if len(lead) > 1:
        return lead[0], math.prod(lead[1:])
    near = [v for node in (*read.nodes, *found.nodes) for v in node.outputs]
    near += [stage.value for v in (read.product.left, read.product.right) for stage in stages(v, ground)]
    near += [v for node in found.product.node.outputs[0].consumers() for v in node.outputs]
    for value in near:
        shape = ground.shape(value)
        if shape is not None and len(shape) == 4 and shape[0] * shape[1] == lead[0] and shape[1] > 1:
            return shape[0], shape[1]
    return lead[0], 1


def sources(value: ir.Value) -> set[ir.Value]:
    """What a value is computed from: the activations that the linears behind it read, and inputs of the model."""
    found, seen, pending = set[ir.Value](), set[ir.Value](), [value]
    while pending:
        value = pending.pop()
        if value in seen or trace(value) is not None:
            continue
        seen.add(value)
        node = value.producer()
        if node is None:
            found.add(value)
        elif node.op_type in ("Shape", "Size"):
            continue
        elif node.op_type in ("MatMul", "Gemm") and trace(node.inputs[1]) is not None:
            found.update(v for v in node.inputs[:1] if v is not None)
        else:
            pending.extend(v for v in node.inputs if v is not None)
    return found

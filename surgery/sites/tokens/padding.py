"""Padding: the input that says which tokens are real, as the masks of all attentions mean it, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.input_roles import role
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.attention.masks.mask import Mask, Refusal, Shown
from onnxfix.surgery.sites.attention.masks.softmax_masks import SoftmaxMasks
from onnxfix.surgery.sites.sizes.probe import free_axes

from .axes import Layout
from .crossing import crossing
from .mask_numbers import MaskNumbers

ATTENTION = frozenset({"Attention", "MultiHeadAttention", "GroupQueryAttention"})
# Where attention in one operator takes what is added to its scores.
ADDED = {"Attention": 3, "MultiHeadAttention": 5}
_FEATURES = 3  # axes of [batch, length, size]


@dataclass(frozen=True)
class Padding:
    """`value`, [batch, length], is 0 where a token is padding, or what else `shown` leaves; `rows`: an input of
    tokens whose batch has another name, as torch names them where the mask is read row by row, and which may have more
    rows than a mask of one. `hidden`: nodes of attention whose masks hide that, each a Softmax or one operator;
    `numbers`: of what is made of it alone."""

    value: ir.Value
    layout: Layout
    hidden: frozenset[ir.Node]
    numbers: MaskNumbers = field(compare=False)
    rows: ir.Value | None = None
    hiding: frozenset[ir.Node] = field(default=frozenset(), compare=False)
    """Nodes that compute the masks of those, and put them into scores: what they make at padding is what hides it."""
    shown: Shown = "not 0"
    crossing: frozenset[ir.Node] = field(default=frozenset(), compare=False)
    """Those of `hidden` whose queries are of other tokens, of which the mask says nothing,"""
    others: frozenset[ir.Node] = field(default=frozenset(), compare=False)
    """and the nodes that compute these."""


def find(model: Model, masks: SoftmaxMasks | None = None) -> Padding | None:
    """None where no mask means such an input, or masks mean several, and where its sizes are no free axes. `masks`: of
    the model, where they are read already."""
    masks = masks or SoftmaxMasks(model)
    read = _read(model, masks)
    meant = {mask.padding for mask in read.values() if isinstance(mask, Mask) and not mask.inverted}
    inputs = [value for value in meant if value is not None]
    names = {place: axis.name for axis in free_axes(model.graph) for place in axis.places}
    if len(inputs) != 1 or not {(inputs[0], 0), (inputs[0], 1)} <= set(names):
        return None
    value, batch, length = inputs[0], names[inputs[0], 0], names[inputs[0], 1]
    if batch == length or len(value.shape or ()) != 2:
        return None
    hiding_it = {node: mask for node, mask in read.items() if isinstance(mask, Mask) and mask.padding is value}
    hidden, ways = frozenset(hiding_it), {mask.shown for mask in hiding_it.values() if not mask.inverted}
    if len(ways) != 1:  # what is a token to one attention is padding to another
        return None
    others = {given: name for (given, axis), name in names.items() if axis == 0 and names.get((given, 1)) == length}
    apart = {given: name for given, name in others.items() if name not in (batch, length) and _is_of_tokens(given)}
    layout = Layout(model, batch, length, frozenset(apart.values()))
    hiding = frozenset(maker for node in hidden for maker in masks.made_by(node, _added(node)))
    numbers = MaskNumbers(masks, value, layout)
    (shown,), across = ways, crossing(model, layout, numbers, hidden)
    return Padding(value, layout, hidden, numbers, next(iter(apart), None), hiding, shown, *across)


def _is_of_tokens(value: ir.Value) -> bool:
    """Token ids, or features of each: what an input of another kind has as many of as tokens may be the same in all
    rows."""
    return role(value) == "ids" or (role(value) == "" and len(value.shape or ()) == _FEATURES)


def unread(model: Model) -> Refusal | None:
    """The first mask of an attention that means no padding to anybody, with the reason."""
    found = _read(model, SoftmaxMasks(model)).values()
    return next((mask for mask in found if isinstance(mask, Refusal)), None)


def _read(model: Model, masks: SoftmaxMasks) -> dict[ir.Node, Mask | Refusal | None]:
    return {node: _mask(masks, node) for node in model.graph if _is_attention(node)}


def _is_attention(node: ir.Node) -> bool:
    return node.op_type in ATTENTION or (node.op_type == "Softmax" and is_standard(node) and bool(node.inputs[0]))


def _mask(masks: SoftmaxMasks, node: ir.Node) -> Mask | Refusal | None:
    if node.op_type == "Softmax":
        return masks.of_softmax(node)
    value = _added(node)
    return masks.of_added(value) if value is not None else None


def _added(node: ir.Node) -> ir.Value | None:
    return None if node.op_type == "Softmax" else added(node)


def added(node: ir.Node) -> ir.Value | None:
    """What attention in one operator adds to its scores."""
    index = ADDED.get(node.op_type, len(node.inputs))
    value = node.inputs[index] if index < len(node.inputs) else None
    while value is not None and (made := value.producer()) is not None and made.op_type == "Expand":
        value = made.inputs[0]  # to the sizes of query and key, which change nothing
    return value

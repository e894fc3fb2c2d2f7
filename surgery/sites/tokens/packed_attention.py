"""Attention of a packed stream: tokens are put back in their places before it, and are taken out again behind it.

What passes that compute it without these places have to know: which tokens of which rows there are, and who sees whom.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.attention.masks.mask import Mask, Refusal
from onnxfix.surgery.sites.attention.masks.softmax_masks import SoftmaxMasks
from onnxfix.surgery.sites.constants import constant_tensor, small_array

from .padding import ADDED, added

# Inputs besides query, key and value, and what may be added to their scores, make another attention of it: a cache,
# lengths, a bias of the projections.
_OPERANDS = 3

_LIMITS = {"Equal": 1, "Greater": 0}
"""By which a number of the mask says that a token is real, and the number."""


@dataclass(frozen=True)
class Packing:
    """`mask`: [batch, length], not 0 at a real token, above it, or 1; `tokens`: the same in int64, 1 or 0;
    `taken`: [count], the place of each real token in a batch that is one row, in order, or place 0 where there is none;
    `back`: [batch, length], the place of each token in the stream, of padding that of another."""

    mask: ir.Value
    tokens: ir.Value
    taken: ir.Value
    back: ir.Value


@dataclass(frozen=True)
class PackedAttention:
    """`query`, `key` and `value`: [count, heads * size], of real tokens; `result`: the same, what is made of them; it
    is a reshape to rows of tokens and a Gather of the real ones behind `node`. `mask` says who sees whom."""

    node: ir.Node
    query: ir.Value
    key: ir.Value
    value: ir.Value
    result: ir.Value
    packing: Packing
    mask: Mask


def sites(model: Model) -> Iterator[PackedAttention]:
    """Those of the main graph whose mask hides the padding that the stream leaves out."""
    masks = SoftmaxMasks(model)
    for node in model.graph:
        if node.op_type not in ADDED or any(value is not None for value in _others(node)) or _limits_itself(node):
            continue
        sources = [_unpacked(value) for value in node.inputs[:_OPERANDS]]
        taken = _taken(node)
        if taken is None or any(source is None for source in sources):
            continue
        query, key, value = (source for source in sources if source is not None)
        packing = _packing(query.places, taken[0])
        mask = _mask(masks, node)
        if packing is None or not query.places is key.places is value.places or not isinstance(mask, Mask):
            continue
        if not all(_is_of(source.shown, packing.mask) for source in (query, key, value)):
            continue
        if mask.padding is _given(packing.mask) and not mask.inverted:
            yield PackedAttention(node, query.row, key.row, value.row, taken[1], packing, mask)


def of_whole_rows(model: Model) -> list[PackedAttention]:
    """Those that see all that is real in their row, or all up to themselves."""
    found = [(site, site.mask) for site in sites(model)]
    return [
        site for site, mask in found
        if mask.band is None and mask.bias is None and mask.positions != "input" and mask.untried is None
    ]  # fmt: skip


def _others(node: ir.Node) -> list[ir.Value | None]:
    place = ADDED[node.op_type]
    return [value for index, value in enumerate(node.inputs) if index >= _OPERANDS and index != place]


def _limits_itself(node: ir.Node) -> bool:
    """Whether an attribute hides keys too."""
    return bool(integer(node, "is_causal", 0) or integer(node, "unidirectional", 0))


def _mask(masks: SoftmaxMasks, node: ir.Node) -> Mask | Refusal | None:
    value = added(node)
    return masks.of_value(value) if value is not None else None


@dataclass(frozen=True)
class _Unpacked:
    """`row`: [count, width], `places`: [batch, length]; `shown`: elsewhere zeros were put, if anything."""

    row: ir.Value
    places: ir.Value
    shown: ir.Value | None


def _unpacked(value: ir.Value | None) -> _Unpacked | None:
    """Of a value that is put in its places, [batch, length, width]."""
    node, shown = value.producer() if value is not None else None, None
    if node is not None and node.op_type == "Where" and is_standard(node) and _is_zero(node.inputs[2]):
        shown, put = node.inputs[:2]
        node = put.producer() if put is not None else None
    if node is None or node.op_type != "Gather" or integer(node, "axis", 0) != 0 or not is_standard(node):
        return None
    source, places = node.inputs
    return _Unpacked(source, places, shown) if source is not None and places is not None else None


def _given(mask: ir.Value) -> ir.Value | None:
    """The input that has as many rows as there are, or was given them, whatever type it is compared in."""
    value: ir.Value | None = mask
    while value is not None and (node := value.producer()) is not None and node.op_type in ("Expand", "Cast"):
        value = node.inputs[0]
    return value


def _is_zero(value: ir.Value | None) -> bool:
    node = value.producer() if value is not None else None
    array = small_array(node.inputs[0] if node is not None and node.op_type == "CastLike" else value, limit=1)
    return array is not None and array.size == 1 and not array.any()


def _is_of(shown: ir.Value | None, mask: ir.Value) -> bool:
    """Whether zeros stand where the mask has none of its tokens, or nowhere."""
    if shown is None:
        return True
    made = _chain(shown, ("Unsqueeze",))
    return made is not None and _shown_by(made[0].inputs[0]) is mask


def _shown_by(real: ir.Value | None) -> ir.Value | None:
    """The mask that says which tokens are real: by any number but 0, by those above it, or by a 1."""
    node = real.producer() if real is not None else None
    if node is None or not is_standard(node):
        return None
    if node.op_type in _LIMITS:
        limit = small_array(node.inputs[1], limit=1)
        same = limit is not None and limit.size == 1 and bool((limit == _LIMITS[node.op_type]).all())
        return node.inputs[0] if same else None
    return node.inputs[0] if node.op_type == "Cast" else None


def _taken(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """The places, and [count, width]: of the one reader, which takes real tokens of all rows."""
    readers = list(node.outputs[0].uses())
    if len(readers) != 1 or node.outputs[0].is_graph_output() or any(value.uses() for value in node.outputs[1:]):
        return None
    row = readers[0].node
    gathers = [use.node for use in row.outputs[0].uses()] if _is_of_rows(row) else []
    if len(gathers) != 1 or gathers[0].op_type != "Gather" or integer(gathers[0], "axis", 0) != 0:
        return None
    places = gathers[0].inputs[1]
    return (places, gathers[0].outputs[0]) if places is not None else None


def _is_of_rows(row: ir.Node) -> bool:
    """Whether it makes [batch * length, width] of [batch, length, width]."""
    if row.op_type == "Flatten" and is_standard(row):
        return integer(row, "axis", 1) == 2
    shape = constant_tensor(row.inputs[1]) if row.op_type == "Reshape" and is_standard(row) else None
    return shape is not None and len(shape.numpy()) == 2 and bool(shape.numpy()[0] == -1)


def _packing(back: ir.Value, taken: ir.Value) -> Packing | None:
    """What places are made of, as pack-tokens writes them; None for any other."""
    there = _chain(taken, ("Squeeze", "Concat", "NonZero", "Reshape", "Cast"))
    again = _chain(back, ("Reshape", "Max", "Sub", "CumSum", "Reshape"))
    if there is None or again is None or there[3] is not again[4]:
        return None
    mask, tokens = _shown_by(there[4].inputs[0]), there[4].outputs[0]
    return Packing(mask, tokens, taken, back) if mask is not None else None


def _chain(value: ir.Value, op_types: tuple[str, ...]) -> list[ir.Node] | None:
    """Nodes from `value` up through first inputs."""
    found: list[ir.Node] = []
    current: ir.Value | None = value
    for op_type in op_types:
        node = current.producer() if current is not None else None
        if node is None or node.op_type != op_type or not is_standard(node):
            return None
        found.append(node)
        current = node.inputs[0]
    return found

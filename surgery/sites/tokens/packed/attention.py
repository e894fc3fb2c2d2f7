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
from onnxfix.surgery.sites.constants import constant_tensor

from ..padding import ADDED, added
from .packing import Packing, chain, given, packing_of, shown_by, unpacked

# Inputs besides query, key and value, and what may be added to their scores, make another attention of it: a cache,
# lengths, a bias of the projections.
_OPERANDS = 3


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
        sources = [unpacked(value) for value in node.inputs[:_OPERANDS]]
        taken = _taken(node)
        if taken is None or any(source is None for source in sources):
            continue
        query, key, value = (source for source in sources if source is not None)
        packing = packing_of(query.places, taken[0])
        mask = _mask(masks, node)
        if packing is None or not query.places is key.places is value.places or not isinstance(mask, Mask):
            continue
        if not all(_is_of(source.shown, packing.mask) for source in (query, key, value)):
            continue
        if mask.padding is given(packing.mask) and not mask.inverted:
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


def _is_of(shown: ir.Value | None, mask: ir.Value) -> bool:
    """Whether zeros stand where the mask has none of its tokens, or nowhere."""
    if shown is None:
        return True
    made = chain(shown, ("Unsqueeze",))
    return made is not None and shown_by(made[0].inputs[0]) is mask


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

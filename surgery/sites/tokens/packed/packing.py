"""Packing: where the real tokens of a batch lie in one row of them, and where each is put back, as graphs say it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.attention.masks.mask import Shown
from onnxfix.surgery.sites.constants import small_array

_LIMITS = {"Equal": 1, "Greater": 0}
"""By which a number of the mask says that a token is real, and the number."""
_SHOWN: dict[str, Shown] = {"Equal": "1", "Greater": "above 0"}

_TAKEN = ("Squeeze", "Concat", "NonZero", "Reshape", "Cast")
_BACK = ("Reshape", "Max", "Sub", "CumSum", "Reshape")
"""What both kinds of places are made by, as pack-tokens writes it: from the last through first inputs."""


@dataclass(frozen=True)
class Packing:
    """`mask`: [batch, length], not 0 at a real token, above it, or 1; `tokens`: the same in int64, 1 or 0;
    `taken`: [count], the place of each real token in a batch that is one row, in order, or place 0 where there is none;
    `back`: [batch, length], the place of each token in the stream, of padding that of another."""

    mask: ir.Value
    tokens: ir.Value
    taken: ir.Value
    back: ir.Value
    shown: Shown
    """By which of its numbers the mask says that a token is real."""


@dataclass(frozen=True)
class Unpacked:
    """`row`: [count, width], `places`: [batch, length]; `shown`: elsewhere zeros were put, if anything."""

    row: ir.Value
    places: ir.Value
    shown: ir.Value | None


def unpacked(value: ir.Value | None) -> Unpacked | None:
    """Of a value that is put in its places, [batch, length, width]."""
    node, shown = value.producer() if value is not None else None, None
    if node is not None and node.op_type == "Where" and is_standard(node) and _is_zero(node.inputs[2]):
        shown, put = node.inputs[:2]
        node = put.producer() if put is not None else None
    if node is None or node.op_type != "Gather" or integer(node, "axis", 0) != 0 or not is_standard(node):
        return None
    source, places = node.inputs
    return Unpacked(source, places, shown) if source is not None and places is not None else None


def given(mask: ir.Value) -> ir.Value | None:
    """The input that has as many rows as there are, or was given them, whatever type it is compared in."""
    value: ir.Value | None = mask
    while value is not None and (node := value.producer()) is not None and node.op_type in ("Expand", "Cast"):
        value = node.inputs[0]
    return value


def _is_zero(value: ir.Value | None) -> bool:
    node = value.producer() if value is not None else None
    array = small_array(node.inputs[0] if node is not None and node.op_type == "CastLike" else value, limit=1)
    return array is not None and array.size == 1 and not array.any()


def shown_by(real: ir.Value | None) -> ir.Value | None:
    """The mask that says which tokens are real: by any number but 0, by those above it, or by a 1."""
    node = real.producer() if real is not None else None
    if node is None or not is_standard(node):
        return None
    if node.op_type in _LIMITS:
        limit = small_array(node.inputs[1], limit=1)
        same = limit is not None and limit.size == 1 and bool((limit == _LIMITS[node.op_type]).all())
        return node.inputs[0] if same else None
    return node.inputs[0] if node.op_type == "Cast" else None


def find(model: Model) -> Packing | None:
    """The one of a model whose tokens are packed."""
    taken = [node.outputs[0] for node in model.graph if node.op_type == "Squeeze"]
    back = [node.outputs[0] for node in model.graph if node.op_type == "Reshape"]
    back = [value for value in back if chain(value, _BACK) is not None]
    pairs = [packing_of(one, other) for one in back for other in taken if chain(other, _TAKEN) is not None]
    found = [each for each in pairs if each is not None]
    return found[0] if len(found) == 1 else None


def packing_of(back: ir.Value, taken: ir.Value) -> Packing | None:
    """What places are made of, as pack-tokens writes them; None for any other."""
    there = chain(taken, _TAKEN)
    again = chain(back, _BACK)
    if there is None or again is None or there[3] is not again[4]:
        return None
    real, tokens = there[4].inputs[0], there[4].outputs[0]
    mask, node = shown_by(real), real.producer() if real is not None else None
    if mask is None or node is None:
        return None
    return Packing(mask, tokens, taken, back, _SHOWN.get(node.op_type, "not 0"))


def chain(value: ir.Value, op_types: tuple[str, ...]) -> list[ir.Node] | None:
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

"""Masked: results that are the same whatever an operand is at tokens of padding, as pooling and heads are written."""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.attention.masks.computed.observing import HIDDEN
from onnxfix.surgery.sites.constants import integers, small_array

from .axes import Layout
from .padding import Padding
from .per_token import lines_up

_MOVES = frozenset("Unsqueeze Squeeze Cast Identity Transpose Expand Reshape".split())
_SOFTMAXES = frozenset({"Softmax", "LogSoftmax"})
_LARGEST = frozenset({"ReduceMax", "ArgMax"})


def is_masked(node: ir.Node, index: int, padding: Padding) -> bool:
    """Whether an operand, of token axes, does not come out where a token is padding: multiplied with zero, not chosen,
    or so far below all others that a Softmax or a maximum over tokens does not see it."""
    if not is_standard(node):
        return False
    if node.op_type == "MatMul":
        return _is_sum_of_zeros(node, index, padding)
    if not _lines_up(node.inputs[index], node, padding.layout):
        return False
    others = [value for i, value in enumerate(node.inputs) if i != index and value is not None]
    if node.op_type == "Mul":
        return any(_is_zero(value, padding) and _lines_up(value, node, padding.layout) for value in others)
    if node.op_type == "Where" and index:
        chosen = padding.numbers.at_padding(node.inputs[0])
        return chosen is not None and bool(chosen) == (index == 2) and _lines_up(node.inputs[0], node, padding.layout)
    return _is_hidden(node, padding, index) and _is_lost(node.outputs[0], padding.layout)


def is_nothing(value: ir.Value, padding: Padding) -> bool:
    """Whether a value of token axes is zero where a token is padding, whatever it is made of there."""
    if padding.numbers.at_padding(value) == 0:
        return True
    node = value.producer()
    if node is None or not is_standard(node):
        return False
    if node.op_type == "Mul":
        return any(padding.numbers.at_padding(v) == 0 and _lines_up(v, node, padding.layout) for v in node.inputs)
    if node.op_type == "Where":
        chosen = padding.numbers.at_padding(node.inputs[0])
        nothing = chosen is not None and _number(node.inputs[1 if chosen else 2]) == 0
        return nothing and _lines_up(node.inputs[0], node, padding.layout)
    return False


def is_filled(value: ir.Value, padding: Padding) -> bool:
    """Whether a value has something of the mask's where a token is padding, by which whoever reads it knows that, and
    which is not zero: scores of places in a text are often handed out so."""
    node = value.producer()
    if node is None or not is_standard(node):
        return False
    if node.op_type in _MOVES:
        source = node.inputs[0]
        return source is not None and padding.layout.axes(source) is not None and is_filled(source, padding)
    if node.op_type == "Where":
        chosen = padding.numbers.at_padding(node.inputs[0]) is not None
        return chosen and _lines_up(node.inputs[0], node, padding.layout) and not is_nothing(value, padding)
    return _is_hidden(node, padding)


def _lines_up(value: ir.Value | None, node: ir.Node, layout: Layout) -> bool:
    axes, shape = layout.axes(node.outputs[0]), layout.shape(node.outputs[0])
    return value is not None and axes is not None and shape is not None and lines_up(value, len(shape), axes, layout)


def _is_zero(value: ir.Value | None, padding: Padding) -> bool:
    """At every token of padding: made so by the mask, or a weight of a Softmax over tokens for what is hidden."""
    if padding.numbers.at_padding(value) == 0:
        return True
    node = value.producer() if value is not None else None
    if node is None or not is_standard(node):
        return False
    if node.op_type in _MOVES:
        return padding.layout.axes(node.inputs[0]) is not None and _is_zero(node.inputs[0], padding)
    return node.op_type == "Softmax" and _is_over_tokens(node, padding.layout) and _is_low(node.inputs[0], padding)


def _is_low(value: ir.Value | None, padding: Padding) -> bool:
    """Whether the mask has put something into the scores of padding that no Softmax sees."""
    node = value.producer() if value is not None else None
    if node is None or not is_standard(node):
        return False
    if node.op_type in _MOVES:
        return padding.layout.axes(node.inputs[0]) is not None and _is_low(node.inputs[0], padding)
    if node.op_type == "Where":
        chosen = padding.numbers.at_padding(node.inputs[0])
        lowest = _number(node.inputs[1 if chosen else 2])
        up = _lines_up(node.inputs[0], node, padding.layout)
        return chosen is not None and lowest is not None and lowest < HIDDEN and up
    return _is_hidden(node, padding)


def _is_hidden(node: ir.Node, padding: Padding, operand: int = -1) -> bool:
    """x + mask or x - mask, far below what scores are. `operand`: the one that is hidden, and does not hide itself."""
    if node.op_type not in ("Add", "Sub"):
        return False
    sign = 1 if node.op_type == "Add" else -1
    added = [value for i, value in enumerate(node.inputs) if i != operand and (i or sign > 0)]
    found = [(value, padding.numbers.at_padding(value)) for value in added]
    return any(low is not None and sign * low < HIDDEN and _lines_up(v, node, padding.layout) for v, low in found)


def _is_lost(value: ir.Value, layout: Layout) -> bool:
    """Whether all who read it take a Softmax or the largest over tokens; whoever gets it as an output may do so."""
    readers = value.consumers()
    return bool(readers or value.is_graph_output()) and all(
        _is_over_tokens(reader, layout)
        or (reader.op_type in _MOVES and is_standard(reader) and layout.axes(reader.outputs[0]) is not None
            and _is_lost(reader.outputs[0], layout))
        for reader in readers
    )  # fmt: skip


def _is_over_tokens(node: ir.Node, layout: Layout) -> bool:
    axes, shape = layout.axes(node.inputs[0]), layout.shape(node.inputs[0])
    if axes is None or axes.merged or not shape or not is_standard(node):
        return False
    if node.op_type in _SOFTMAXES:
        taken: tuple[int, ...] | None = (integer(node, "axis", -1),)
    elif node.op_type in _LARGEST:
        given = node.attributes.get("axes")
        taken = tuple(given.as_ints()) if given is not None else None
        taken = integers(node.inputs[1]) if taken is None and len(node.inputs) > 1 else taken
        taken = (integer(node, "axis", 0),) if node.op_type == "ArgMax" else taken
    else:
        return False
    return taken is not None and [axis % len(shape) for axis in taken] == [axes.token]


def _is_sum_of_zeros(node: ir.Node, index: int, padding: Padding) -> bool:
    """A product over tokens, [batch, 1, token] · [batch, token, width], whose other side is zero at padding."""
    mine, other = node.inputs[index], node.inputs[1 - index]
    if not _is_zero(other, padding):
        return False
    sides = [(padding.layout.axes(v), len(padding.layout.shape(v) or ())) for v in (mine, other)]
    if any(axes is None or axes.merged for axes, _ in sides):
        return False
    places = [rank - axes.token for axes, rank in sides if axes is not None]
    return places == ([2, 1] if index else [1, 2])


def _number(value: ir.Value | None) -> float | None:
    """Of a constant of one element."""
    array = small_array(value, limit=1)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None

"""Where rotary angles meet queries and keys: x · cos + rotate_half(x) · sin, written out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.constants import integers

from .head_layout import dimension, last_dimension, producer, scalar

_MOVES = frozenset({"Unsqueeze", "Cast", "Identity"})


@dataclass(frozen=True)
class RotaryProduct:
    """`output` is the Add; `value` what is turned; `cos` and `sin` [1 or batch, 1, sequence, size], whose two halves
    along the last axis are equal."""

    output: ir.Node
    value: ir.Value
    cos: ir.Value
    sin: ir.Value


def find(model: Model) -> Iterator[RotaryProduct]:
    """All of the main graph, in its order: the half-rotated form of Su et al., RoFormer, 2021, as in GPT-NeoX."""
    for node in model.graph:
        if node.op_type == "Add" and is_standard(node):
            found = _product(node, *node.inputs) or _product(node, *reversed(node.inputs))
            if found is not None:
                yield found


def _product(add: ir.Node, straight: ir.Value | None, turned: ir.Value | None) -> RotaryProduct | None:
    first, second = producer(straight, "Mul"), producer(turned, "Mul")
    if first is None or second is None:
        return None
    for half, sin in (second.inputs, tuple(reversed(second.inputs))):
        value = _rotated(half)
        if value is None or value not in first.inputs:
            continue
        cos = first.inputs[1] if first.inputs[0] is value else first.inputs[0]
        if cos is not None and sin is not None and _doubled(cos, "Cos") and _doubled(sin, "Sin"):
            return RotaryProduct(add, value, cos, sin)
    return None


def _rotated(half: ir.Value | None) -> ir.Value | None:
    """x of Concat(-x[..., size/2:], x[..., :size/2])."""
    joined = producer(half, "Concat")
    if joined is None or len(joined.inputs) != 2 or joined.attributes["axis"].as_int() not in (-1, 3):
        return None
    negated, low = producer(joined.inputs[0], "Neg"), joined.inputs[1]
    high = negated.inputs[0] if negated is not None else None
    split = producer(low, "Split")
    if split is not None:
        parts = integers(split.inputs[1]) if len(split.inputs) > 1 else (1, 1)
        even = parts is not None and len(parts) == 2 and parts[0] == parts[1] and len(split.outputs) == 2
        return split.inputs[0] if even and list(split.outputs) == [low, high] and _is_last(split) else None
    below, above = producer(low, "Slice"), producer(high, "Slice")
    if below is None or above is None or below.inputs[0] is not above.inputs[0]:
        return None
    value = below.inputs[0]
    whole = integers(below.inputs[1]) == (0,) and (integers(above.inputs[2]) or (0,))[0] >= 2**31 - 1
    middle = _is_middle(below.inputs[2], value) and _is_middle(above.inputs[1], value)
    return value if whole and middle and _on_last(below) and _on_last(above) else None


def _is_last(split: ir.Node) -> bool:
    return integer(split, "axis", 0) in (-1, 3)


def _on_last(node: ir.Node) -> bool:
    steps = integers(node.inputs[4]) if len(node.inputs) > 4 else (1,)
    return len(node.inputs) > 3 and integers(node.inputs[3]) in ((-1,), (3,)) and steps == (1,)


def _is_middle(index: ir.Value | None, value: ir.Value | None) -> bool:
    """Half of the last dimension of `value`: a number, or Shape(value)[-1] / 2."""
    known = integers(index)
    if known is not None:
        size = last_dimension(value)
        return size is not None and known == (size // 2,) and size % 2 == 0
    halved = producer(_unmoved(index), "Div")
    if halved is None or scalar(halved.inputs[1]) != 2:
        return False
    return dimension(_unmoved(halved.inputs[0])) in ((value, -1), (value, 3))


def _unmoved(value: ir.Value | None) -> ir.Value | None:
    """The value behind casts and changes of rank."""
    while (node := producer(value, *_MOVES)) is not None:
        value = node.inputs[0]
    return value


def _doubled(value: ir.Value, op_type: str) -> bool:
    """Whether a value [b, 1, s, d] is a scaled sine or cosine of angles joined with themselves along the last axis."""
    node = value.producer()
    heads = node is not None and node.op_type == "Unsqueeze" and integers(node.inputs[1]) == (1,)
    while node is not None and node.op_type != op_type:
        scaled = node.op_type == "Mul" and scalar(node.inputs[1]) is not None
        if not scaled and node.op_type not in _MOVES:
            return False
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    joined = producer(node.inputs[0], "Concat") if node is not None else None
    return (
        heads
        and joined is not None
        and joined.attributes["axis"].as_int() == -1
        and len(joined.inputs) == 2
        and joined.inputs[0] is joined.inputs[1]
    )

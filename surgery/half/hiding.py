"""What a large constant hides, told from where it goes: scores of a softmax, entries of anything else, or nothing.

-1e9 beside scores is "never" to an exponential. In front of a maximum it is less than any activation, and as a factor
of an activation it is a number like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import bodies, is_standard
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.half.movement import MOVEMENT

Hides = Literal["scores", "sum", "choice", "nothing"]
"""Scores of a softmax; entries of anything else, which it is added to, or stands in the place of; or no entry."""

# An Exp is the softmax that somebody wrote out.
_SOFTMAX = frozenset({"Softmax", "LogSoftmax", "Exp", "SoftmaxCrossEntropyLoss"})
_ATTENTION = frozenset({"Attention", "MultiHeadAttention", "GroupQueryAttention", "PackedAttention"})
_CHOICES = frozenset("Where Pad ScatterND ScatterElements Trilu ConstantOfShape".split())
_SUMS = frozenset({"Add", "Sub", "Neg"})
_FACTORS = frozenset({"Mul", "Div"})
_ON = _CHOICES | _SUMS | MOVEMENT | {"Cast", "CastLike", "Min", "Max"}
_DEEPEST = 40


Bearers = Mapping[ir.Graph, ir.Node]


def bearers(model: Model) -> Bearers:
    """The node that each body belongs to."""
    return {body: node for node in model.nodes() for body in bodies(node)}


def hides(value: ir.Value, known: Bearers) -> Hides:
    """The first of these that any reader says, however far behind movement and masks it stands."""
    found = set[Hides]()
    pending: list[tuple[ir.Value, Hides, int]] = [(value, "choice", 0)]
    seen = set[tuple[ir.Value, Hides]]()
    while pending:
        current, kind, depth = pending.pop()
        if (current, kind) in seen or depth > _DEEPEST:
            continue
        seen.add((current, kind))
        for node, index in current.uses():
            if node.op_type in _SOFTMAX | _ATTENTION:
                return "scores"
            if (after := _behind(node, index, kind)) is None:
                found.add(kind if depth else "nothing")
                continue
            pending += [(output, after, depth + 1) for output in node.outputs]
        if current.is_graph_output():
            outer = known.get(current.graph) if isinstance(current.graph, ir.Graph) else None
            pending += [(output, kind, depth + 1) for output in (outer.outputs if outer is not None else ())]
            found.add(kind)
    order: tuple[Hides, ...] = ("sum", "choice")
    return next((each for each in order if each in found), "nothing")


def _behind(node: ir.Node, index: int, kind: Hides) -> Hides | None:
    """What the result of a node hides where the constant in it does; None where it hides nothing. An input that is
    multiplied with it may be a mask, or an activation: a softmax alone tells."""
    if not is_standard(node):
        return None
    if node.op_type in _FACTORS:
        others = [_made_of(v, 0) for at, v in enumerate(node.inputs) if at != index]
        if None in others:
            return None
        return "sum" if "flags" in others or "inputs" not in others else "nothing"
    if node.op_type in _SUMS:
        return kind if kind == "nothing" else "sum"
    return kind if node.op_type in _ON else None


def _made_of(value: ir.Value | None, depth: int) -> Literal["flags", "inputs", "constants"] | None:
    """Integers or bools, inputs, or constants alone, as 1 - mask is; None with any activation."""
    node = value.producer() if value is not None else None
    if value is None or constant_tensor(value) is not None:
        return "constants"
    if node is None:
        return "inputs"
    if depth > _DEEPEST or not is_standard(node):
        return None
    if node.op_type in ("Cast", "CastLike") and node.inputs[0] is not None and _is_whole(node.inputs[0]):
        return "flags"
    if node.op_type not in _SUMS | _FACTORS | MOVEMENT | {"Cast", "CastLike", "Where", "Pow", "Sign"}:
        return None
    made = {_made_of(v, depth + 1) for v in node.inputs if v is not None}
    if None in made:
        return None
    return "flags" if "flags" in made else "inputs" if "inputs" in made else "constants"


def _is_whole(value: ir.Value) -> bool:
    """By its declared type, or by what makes it."""
    if value.dtype is not None:
        return not value.dtype.is_floating_point()
    node = value.producer()
    return node is not None and node.op_type in ("Equal", "Not", "And", "Or", "Less", "Greater", "GreaterOrEqual",
                                                 "LessOrEqual", "Xor", "IsNaN", "IsInf", "Shape", "Size")  # fmt: skip

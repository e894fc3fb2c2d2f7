"""From a Softmax back to the scores it was made for: what is added to them, or chosen in their place, on the way."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.types.operators import integer, is_standard

from .dependence import Dependence, is_product
from .mask import RefusedError

_ELEMENTWISE = frozenset(
    "Add Sub Mul Div Neg Abs Where Max Min Clip Cast CastLike Identity Tanh Relu LeakyRelu Sigmoid Erf".split()
)
_MOVES = frozenset("Reshape Transpose Unsqueeze Squeeze Expand Concat".split())
_CHOSEN = frozenset(
    "GatherElements Gather GatherND Slice Split Reshape Transpose Unsqueeze Squeeze Identity QuantizeLinear "
    "DequantizeLinear".split()
)
"""What takes some of the scores that its first input holds, or rounds them."""
_RANK = 4
LAST_AXIS_SINCE = 13
"""Softmax of older operator sets takes all axes from one on as one."""


@dataclass(frozen=True)
class ScorePath:
    """`target`: what a Softmax reads; `leaves`: scores before anything was done to them; `elementwise`: nothing on the
    way asks for their shape."""

    target: ir.Value
    leaves: tuple[ir.Value, ...]
    elementwise: bool


def of(softmax: ir.Node, rank: int | None, version: int, dependence: Dependence) -> ScorePath:
    """`rank` of the scores, as far as known; `version` of the operator set. Raises RefusedError where anything but a
    product of activations chooses what is seen, or the Softmax is not along the last axis alone."""
    scores = softmax.inputs[0]
    assert scores is not None
    axis = integer(softmax, "axis", -1 if version >= LAST_AXIS_SINCE else 1)
    if axis != -1 and axis != (rank or _RANK) - 1:
        raise RefusedError(softmax, f"is a Softmax along axis {axis}")
    return back(scores, dependence)


def back(scores: ir.Value, dependence: Dependence) -> ScorePath:
    """The same from a part of the scores, which one operator of attention adds to its own. Raises RefusedError."""
    leaves: dict[ir.Value, None] = {}
    seen: set[ir.Value] = set()
    elementwise = True
    pending = [scores]
    while pending:
        value = pending.pop()
        if value in seen or not dependence.is_activation(value):
            continue
        seen.add(value)
        node = value.producer()
        if node is None or not (is_standard(node) and (node.op_type in _ELEMENTWISE | _MOVES or _is_idle(node))):
            _require_product(value, dependence)
            leaves[value] = None
            continue
        elementwise &= node.op_type not in _MOVES
        if node.op_type == "Where" and node.inputs[0] is not None and dependence.is_activation(node.inputs[0]):
            refusal = dependence.refusal(node.inputs[0])
            raise RefusedError(node, f"chooses scores by what {refusal.reason}")
        shapes = node.inputs[1:] if node.op_type in _MOVES - {"Concat"} or node.op_type == "CastLike" else ()
        pending.extend(v for v in node.inputs if v is not None and v not in shapes)
    return ScorePath(scores, tuple(leaves), elementwise)


def _is_idle(node: ir.Node) -> bool:
    """A Dropout that is not told to train."""
    return node.op_type == "Dropout" and (len(node.inputs) < 3 or node.inputs[2] is None)


def _require_product(leaf: ir.Value, dependence: Dependence) -> None:
    """A leaf is a product, or taken from one. Else it is a mask of the caller's, made of token ids, or hides one."""
    if dependence.product(leaf) is None:
        refusal = dependence.refusal(leaf)
        raise RefusedError(refusal.node, refusal.reason)
    node = leaf.producer()
    while node is not None and node.op_type in _CHOSEN and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    if node is None or not is_product(node):
        raise RefusedError(node, f"lies behind {node.op_type if node is not None else leaf.name}, which is no product")

"""From a Softmax back to the scores it was made for: what is added to them, or chosen in their place, on the way."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.types.operators import attribute, integer, is_standard, opset

from .dependence import Dependence
from .mask import RefusedError

_ELEMENTWISE = frozenset("Add Sub Mul Div Where Cast CastLike Tanh Max Min Clip Identity Neg Softcap".split())
_MOVES = frozenset("Reshape Transpose Unsqueeze Squeeze Expand".split())
LAST_AXIS_SINCE = 13
"""Softmax of older operator sets takes all axes from one on as one."""


@dataclass(frozen=True)
class ScorePath:
    """`leaves`: scores before anything was done to them; `elementwise`: nothing on the way asks for their shape."""

    softmax: ir.Node
    leaves: tuple[ir.Value, ...]
    elementwise: bool

    @property
    def target(self) -> ir.Value:
        """What the Softmax reads."""
        value = self.softmax.inputs[0]
        assert value is not None
        return value


def of(softmax: ir.Node, dependence: Dependence) -> ScorePath:
    """Raises RefusedError where activations choose what is seen, or the Softmax is not along the last axis alone."""
    scores = softmax.inputs[0]
    assert scores is not None
    _require_last_axis(softmax, scores)
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
        standard = node is not None and is_standard(node)
        if node is None or not standard or node.op_type not in _ELEMENTWISE | _MOVES:
            leaves[value] = None
            continue
        elementwise &= node.op_type in _ELEMENTWISE
        if node.op_type == "Where":
            _require_mask(node, dependence)
        shapes = node.inputs[1:] if node.op_type in _MOVES or node.op_type == "CastLike" else ()
        pending.extend(v for v in node.inputs if v is not None and v not in shapes)
    return ScorePath(softmax, tuple(leaves), elementwise)


def _require_last_axis(softmax: ir.Node, scores: ir.Value) -> None:
    graph = softmax.graph
    version = opset(graph.opset_imports if isinstance(graph, ir.Graph) else {}, default=LAST_AXIS_SINCE)
    axis = integer(softmax, "axis", -1 if version >= LAST_AXIS_SINCE else 1)
    rank = len(scores.shape) if scores.shape is not None else 4
    if axis not in (-1, rank - 1) and attribute(softmax, "axis", None) is not None:
        raise RefusedError(softmax, f"is a Softmax along axis {axis}")


def _require_mask(choice: ir.Node, dependence: Dependence) -> None:
    test = choice.inputs[0]
    if test is not None and dependence.is_activation(test):
        node, why = dependence.culprit(test)
        raise RefusedError(choice, f"what is seen {why}" if node is not None else "what is seen depends on activations")

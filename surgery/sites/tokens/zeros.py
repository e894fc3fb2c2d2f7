"""Operators that make a zero of zeros: what has no weight stays without."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxfix.surgery.sites.constants import small_array

_ALONE = frozenset(
    """Abs Cast CastLike Ceil DequantizeLinear Dropout Elu Erf Expand FastGelu Floor Gelu HardSwish Identity LeakyRelu
    Mish Neg PRelu QuantizeLinear QuickGelu ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare Relu Reshape Round Selu Sign Sin Softsign Sqrt Squeeze Swish Tanh Transpose Unsqueeze""".split()
)
"""Of their first operand alone."""
_TOGETHER = frozenset({"Add", "Max", "Mean", "Min", "Sub", "Sum"})
"""Zero where all operands are."""


def told_by(node: ir.Node, candidates: Sequence[int]) -> Sequence[int]:
    """Which inputs must be zero for the result to be; none where that is no answer. `candidates`: those that can be."""
    if node.op_type in _ALONE:
        return [0] if 0 in candidates else []
    if node.op_type in _TOGETHER:
        return candidates if len(candidates) == len(node.inputs) else []
    if node.op_type == "Mul":
        return candidates
    if node.op_type == "Div":  # of what nobody knows to be more than nothing
        return [0] if list(candidates) == [0] else []
    if node.op_type == "Pow":
        power = small_array(node.inputs[1], limit=1)
        return [0] if 0 in candidates and power is not None and power.size == 1 and power.item() > 0 else []
    if node.op_type == "Clip":
        return [0] if 0 in candidates and _leaves_zero(node) else []
    if node.op_type == "Where":
        return _chosen(node, candidates)
    return []


def _leaves_zero(node: ir.Node) -> bool:
    given = [(value, sign) for value, sign in zip(node.inputs[1:3], (1, -1), strict=False) if value is not None]
    found = [(small_array(value, limit=1), sign) for value, sign in given]
    return all(limit is not None and limit.size == 1 and sign * limit.item() <= 0 for limit, sign in found)


def _chosen(node: ir.Node, candidates: Sequence[int]) -> Sequence[int]:
    """A zero is a zero whichever is taken, if the other is one for all."""
    for one, other in ((1, 2), (2, 1)):
        found = small_array(node.inputs[other], limit=1)
        if one in candidates and found is not None and found.size == 1 and not found.any():
            return [one]
    return [1, 2] if {1, 2} <= set(candidates) else []

"""Float products between DequantizeLinear nodes that ONNX Runtime's CPU provider fuses into an integer product.

Which ones it fuses was read from the graphs that 1.31.1 writes at its highest level, for 112 forms.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import attribute, is_standard
from onnxfix.surgery.sites.constants import Trace, constant_tensor, trace

BYTES = ("tensor(uint8)", "tensor(int8)")


@dataclass(frozen=True)
class Pair:
    """A MatMul or Gemm of a dequantized activation and a dequantized constant weight, seen as one integer product.

    `turned`: the traced weight is [N, K]. `bias` is int32, or float where the result is quantized again: the runtime
    then rounds it to int32 with the scale of the sums. `requantized` and `result` are those of that QuantizeLinear.
    """

    activation: ir.Value
    kind: str
    activation_scale: ir.Value
    activation_zero: ir.Value | None
    weight: Trace
    turned: bool
    weight_scale: ir.Value
    weight_zero: ir.Value | None
    bias: ir.Value | None
    requantized: tuple[ir.Value, ir.Value | None] | None
    result: ir.Value


def fused(node: ir.Node, types: ElementTypes) -> Pair | None:
    """The integer product that a MatMul or Gemm becomes, or None where it stays in float.

    An int8 activation counts if a QuantizeLinear makes it: the runtime then makes it uint8 instead
    (`session.qdqisint8allowed` is off by default on x86).
    """
    left = _dequantizer(node.inputs[0])
    right, turns = _behind_transposes(node.inputs[1])
    if left is None or right is None or attribute(node, "transA", 0) or attribute(node, "alpha", 1.0) != 1.0:
        return None
    if min(len(left.inputs), len(right.inputs)) < 2:
        return None  # of another domain, and something else
    turned = bool(turns % 2) != bool(attribute(node, "transB", 0))
    activation, weight = left.inputs[0], trace(right.inputs[0])
    scale, weight_scale = left.inputs[1], right.inputs[1]
    if activation is None or weight is None or scale is None or weight_scale is None:
        return None
    kind = types.get(activation) or ""
    if kind not in BYTES or (kind == BYTES[1] and _producer(activation) != "QuantizeLinear") or _size(scale) != 1:
        return None
    if _size(weight_scale) != 1 and attribute(right, "axis", 1) % 2 != int(not turned):
        return None
    requantized, result = _quantizer(node, types)
    bias, fits = _bias(node, requantized is not None)
    if not fits or attribute(right, "block_size", 0):
        return None
    return Pair(
        activation, kind, scale, _zero(left), weight, turned, weight_scale, _zero(right), bias, requantized, result
    )


def _dequantizer(value: ir.Value | None) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == "DequantizeLinear" else None


def _behind_transposes(value: ir.Value | None) -> tuple[ir.Node | None, int]:
    """The DequantizeLinear before Transposes of a matrix, and their number: the runtime moves them onto the weight."""
    turns = 0
    while value is not None and (node := value.producer()) is not None:
        if node.op_type == "DequantizeLinear":
            return node, turns
        if node.op_type != "Transpose" or not is_standard(node) or list(attribute(node, "perm", (1, 0))) != [1, 0]:
            break
        turns, value = turns + 1, node.inputs[0]
    return None, 0


def _quantizer(node: ir.Node, types: ElementTypes) -> tuple[tuple[ir.Value, ir.Value | None] | None, ir.Value]:
    """Scale, zero point and output of the QuantizeLinear that alone reads the product, else None and its own output."""
    output = node.outputs[0]
    uses = list(output.uses())
    if len(uses) == 1 and uses[0][0].op_type == "QuantizeLinear" and not output.is_graph_output():
        quantizer = uses[0][0]
        scale = quantizer.inputs[1]
        if scale is not None and _size(scale) == 1 and types.get(quantizer.outputs[0]) in BYTES:
            return (scale, _zero(quantizer)), quantizer.outputs[0]
    return None, output


def _bias(node: ir.Node, requantized: bool) -> tuple[ir.Value | None, bool]:
    """Gemm's bias, and whether the product is fused with it: a float one only if the result is quantized again."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return None, True
    if attribute(node, "beta", 1.0) != 1.0:
        return None, False
    dequantizer = _dequantizer(value)
    if dequantizer is not None:
        return dequantizer.inputs[0], True
    tensor = constant_tensor(value)
    return value, requantized and tensor is not None and len(tensor.shape) == 1


def _zero(node: ir.Node) -> ir.Value | None:
    return node.inputs[2] if len(node.inputs) > 2 else None


def _producer(value: ir.Value) -> str:
    node = value.producer()
    return node.op_type if node is not None else ""


def _size(value: ir.Value) -> int:
    tensor = constant_tensor(value)
    return int(tensor.size) if tensor is not None else 0

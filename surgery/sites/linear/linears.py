"""Linear layers: products with a constant weight, whether a quantizer would reach them, and whether one did."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.attention import rotary
from onnxfix.surgery.sites.constants import Trace, constant_tensor, trace

from . import einsums

FLOAT_PRODUCTS = frozenset({"MatMul", "Gemm"})
# Operators that are a linear layer computed in integers or over packed weights, with the index of the weight input.
INTEGER_PRODUCTS = {
    "MatMulInteger": 1,
    "QLinearMatMul": 3,
    "QGemm": 3,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
    "MatMulNBits": 1,
    "MatMulBnb4": 1,
    "QAttention": 1,
    "QMoE": 2,
}
SMALL_INTEGERS = (ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT4, ir.DataType.UINT4)
QUANT_OPS = frozenset(INTEGER_PRODUCTS) | {
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "ConvInteger",
    "QLinearConv",
    "GatherBlockQuantized",
    "DynamicQuantizeLSTM",
}


@dataclass(frozen=True)
class Linear:
    """One linear layer: its node, the weight traced to its constant, and why it is not quantized (empty when it is)."""

    node: ir.Node
    weight: Trace
    quantized: bool
    reason: str = ""

    @property
    def elements(self) -> int:
        """Numbers in the weight, also where a byte holds two of them."""
        packed = integer(self.node, "K", 0) * integer(self.node, "N", 0)
        return packed if self.node.op_type == "MatMulNBits" and packed else self.weight.elements

    @property
    def hidden_by(self) -> tuple[ir.Node, ...]:
        """Nodes that stand between the stored weight and the product, hiding it from a quantizer."""
        return self.weight.path


def find(model: Model, types: ElementTypes | None = None) -> list[Linear]:
    """All linear layers in graph order. Rotary angle products (inv_freq times position) are not linear layers."""
    angles = {node for site in rotary.find(model, types) for node in site.angle_nodes}
    return [linear for node in model.nodes() if node not in angles and (linear := _linear(node)) is not None]


_EINSUM = "it is an Einsum, which no quantizer knows"
_EINSUM_OF_MANY = "its Einsum is no product of a matrix"


def weight_type(linear: Linear) -> ir.DataType:
    """The type in which a product reads its weight, which a Cast may have made of the stored one."""
    casts = [node for node in linear.weight.path if node.op_type == "Cast"]
    if casts:
        return ir.DataType(casts[-1].attributes["to"].as_int())
    tensor = constant_tensor(linear.weight.source)
    assert tensor is not None
    return tensor.dtype


def is_quantized(model: Model) -> bool:
    """Somebody has run a quantizer: quantized operators exist, or ONNX Runtime's quantizer left its name."""
    return model.ir.producer_name == "onnx.quantize" or any(n.op_type in QUANT_OPS for n in model.nodes())


def _linear(node: ir.Node) -> Linear | None:
    if node.op_type in INTEGER_PRODUCTS:
        weight = _weight_input(node, INTEGER_PRODUCTS[node.op_type])
        return Linear(node, weight, True) if weight is not None else None
    if (einsum := einsums.find(node)) is not None:
        why = (
            "it is an Einsum, which no quantizer knows" if einsum.is_matrix else "its Einsum is no product of a matrix"
        )
        return Linear(node, einsum.weight, False, why)
    if node.op_type not in FLOAT_PRODUCTS or not is_standard(node):
        return None
    for index in (1, 0) if node.op_type == "MatMul" else (1,):
        dequantized = _dequantized(node, index)
        if dequantized is not None:
            activation = node.inputs[1 - index]
            fed_quantized = activation is not None and _through(activation.producer()) == "DequantizeLinear"
            reason = "" if fed_quantized else "its weight is quantized, its activation is not"
            return Linear(node, dequantized, True, reason)
        weight = _weight_input(node, index)
        if weight is not None and _rank(weight) >= 2:
            return Linear(node, weight, False, _reason(node, weight, index))
    return None


def _weight_input(node: ir.Node, index: int) -> Trace | None:
    return trace(node.inputs[index]) if index < len(node.inputs) else None


def _dequantized(node: ir.Node, index: int) -> Trace | None:
    """The integers behind a DequantizeLinear (weight of a QDQ model), or behind the Cast and Mul that are one written
    out, through data movement."""
    value, scaled = node.inputs[index] if index < len(node.inputs) else None, False
    while value is not None and (producer := value.producer()) is not None:
        if producer.op_type == "DequantizeLinear":
            return trace(producer.inputs[0]) if producer.inputs else None
        if producer.op_type in ("Mul", "Div", "Sub", "Add") and is_standard(producer):
            scaled = scaled or producer.op_type in ("Mul", "Div")
            value = _larger_constant(producer)
        elif producer.op_type in ("Transpose", "Reshape", "Identity", "Cast") and is_standard(producer):
            stored = trace(producer.inputs[0]) if producer.op_type == "Cast" and scaled else None
            tensor = constant_tensor(stored.source) if stored is not None else None
            if tensor is not None and tensor.dtype in SMALL_INTEGERS:
                return stored
            value = producer.inputs[0]
        else:
            return None
    return None


def _larger_constant(node: ir.Node) -> ir.Value | None:
    """The operand that a constant scales or shifts: of two constants the one with more elements."""
    traces = [trace(value) for value in node.inputs]
    if all(found is None for found in traces):
        return None
    sizes = [found.elements if found is not None else math.inf for found in traces]
    return node.inputs[0 if sizes[0] >= sizes[1] else 1]


def _through(node: ir.Node | None) -> str:
    while node is not None and node.op_type in ("Reshape", "Transpose", "Identity") and is_standard(node):
        value = node.inputs[0]
        node = value.producer() if value is not None else None
    return node.op_type if node is not None else ""


def _rank(weight: Trace) -> int:
    tensor = constant_tensor(weight.source)
    return len(tensor.shape) if tensor is not None else 0


def _reason(node: ir.Node, weight: Trace, index: int) -> str:
    tensor = constant_tensor(weight.source)
    assert tensor is not None
    if weight.path:
        return f"its weight {weight.source.name} stands behind {' and '.join(n.op_type for n in weight.path)}"
    if tensor.dtype != ir.DataType.FLOAT:
        return f"its weight is {tensor.dtype.name}"
    if index == 0:
        return "its weight is the left operand"
    if len(tensor.shape) != 2:
        return f"its weight has {len(tensor.shape)} axes, and int8 kernels take matrices"
    if weight.source.producer() is not None:
        return "its weight is in a Constant node, not an initializer"
    return "float"

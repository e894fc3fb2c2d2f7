"""The numbers that quantized linears compute with: the weight as it was stored, and the range of the activation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.operators import integer
from onnxfix.nouns.weights import weight_data
from onnxfix.nouns.weights.weight_data import Array
from onnxfix.surgery.sites.constants import constant_tensor, mover, trace

from .linears import Linear

# Operators with their scales as inputs: where weight, weight scale and weight zero point are, and the activation's.
_INPUTS = {
    "QLinearMatMul": (3, 4, 5, 1, 2),
    "QGemm": (3, 4, 5, 1, 2),
    "MatMulIntegerToFloat": (1, 3, 5, None, None),
    "DynamicQuantizeMatMul": (1, 2, 3, None, None),
}


@dataclass(frozen=True)
class QuantizedWeight:
    """`values`: what the integers stand for, float32 [channels, columns]. `scales`: how many scales there are; `bits`:
    of an integer. `low`, `high`: the range of the activation, None where it is taken at run time."""

    values: Array
    scales: int
    bits: int
    low: float | None = None
    high: float | None = None


def read(linear: Linear) -> QuantizedWeight | None:
    """The weight of a quantized linear; None for forms that are not read (blocks of QDQ, bnb4, attention)."""
    node = linear.node
    if node.op_type in _INPUTS:
        return _with_inputs(node)
    if node.op_type == "MatMulInteger":
        return _integer(node)
    if node.op_type == "MatMulNBits":
        return _blocks(node)
    return _dequantized(node) if node.op_type in ("MatMul", "Gemm") else None


def _with_inputs(node: ir.Node) -> QuantizedWeight | None:
    weight, scale, zero, a_scale, a_zero = _INPUTS[node.op_type]
    integers, scales = _array(node, weight), _array(node, scale)
    if integers is None or scales is None:
        return None
    values = _values(integers, scales, _array(node, zero), integers.ndim - 1)
    if integer(node, "transB", 0):
        values = values.T
    bounds = _range(_array(node, a_scale), _array(node, a_zero)) if a_scale is not None and a_zero is not None else None
    return QuantizedWeight(values, scales.size, 8, *(bounds or ()))


def _integer(node: ir.Node) -> QuantizedWeight | None:
    """MatMulInteger, whose scale is a factor behind it: the product of both scales, one of which is constant."""
    integers, scales = _array(node, 1), None
    value = node.outputs[0]
    for _ in range(3):
        readers = value.consumers()
        if len(readers) != 1:
            return None
        if readers[0].op_type == "Mul":
            factor = next(v for v in readers[0].inputs if v is not value)
            scales = _constant_factor(factor)
            break
        value = readers[0].outputs[0]
    if integers is None or scales is None:
        return None
    return QuantizedWeight(_values(integers, scales, _array(node, 3), 1), scales.size, 8)


def _constant_factor(value: ir.Value | None) -> Array | None:
    if (known := _content(value)) is not None:
        return known
    producer = value.producer() if value is not None else None
    if producer is None or producer.op_type != "Mul":
        return None
    return next((known for v in producer.inputs if (known := _content(v)) is not None), None)


def _blocks(node: ir.Node) -> QuantizedWeight | None:
    packed, scales, zeros = _array(node, 1), _array(node, 2), _array(node, 3)
    bits, inner, outer = (node.attributes[key].as_int() for key in ("bits", "K", "N"))
    if packed is None or scales is None or zeros is not None or bits not in (4, 8):
        return None
    flat = packed.reshape(outer, -1)
    if bits == 4:
        flat = np.stack([flat & 15, flat >> 4], axis=-1).reshape(outer, -1)
    size = node.attributes["block_size"].as_int()
    each = flat.astype(np.float32).reshape(outer, -1, size) - (1 << (bits - 1))
    values = (each * scales.astype(np.float32).reshape(outer, -1, 1)).reshape(outer, -1)[:, :inner]
    return QuantizedWeight(values.T, scales.size, bits)


def _dequantized(node: ir.Node) -> QuantizedWeight | None:
    """A float product of a DequantizeLinear, with data movement between."""
    moves = []
    value = node.inputs[1]
    while value is not None and (producer := value.producer()) is not None and producer.op_type != "DequantizeLinear":
        if (move := mover(producer)) is None:
            return None
        moves.append(move)
        value = producer.inputs[0]
    dequantize = value.producer() if value is not None else None
    if dequantize is None or integer(dequantize, "block_size", 0):
        return None
    integers, scales, zeros = _array(dequantize, 0), _array(dequantize, 1), _array(dequantize, 2)
    if integers is None or scales is None:
        return None
    axis = integer(dequantize, "axis", 1)
    values = _values(integers, scales, zeros, axis)
    for move in reversed(moves):
        values = move(values)
    if integer(node, "transB", 0):
        values = values.T
    bits = 4 if integers.dtype.itemsize == 1 and integers.dtype.name.endswith("int4") else 8 * integers.dtype.itemsize
    return QuantizedWeight(values, scales.size, bits, *(_activation_range(node.inputs[0]) or ()))


def _activation_range(value: ir.Value | None) -> tuple[float, float] | None:
    """What the QuantizeLinear in front of an activation's DequantizeLinear can hold."""
    while value is not None and (producer := value.producer()) is not None:
        if producer.op_type == "DequantizeLinear":
            return represented(producer)
        if producer.op_type not in ("Reshape", "Transpose", "Identity"):
            return None
        value = producer.inputs[0]
    return None


def represented(node: ir.Node) -> tuple[float, float] | None:
    """The least and the largest number that the integers of a QuantizeLinear or DequantizeLinear stand for; None where
    its scale is none or several."""
    return _range(_array(node, 1), _array(node, 2))


def _range(scale: Array | None, zero: Array | None) -> tuple[float, float] | None:
    if scale is None or scale.size != 1:
        return None
    kind = np.iinfo(zero.dtype) if zero is not None else np.iinfo(np.uint8)
    point, step = int(zero.reshape(())) if zero is not None else 0, float(scale.reshape(()))
    return (kind.min - point) * step, (kind.max - point) * step


def _values(integers: Array, scales: Array, zeros: Array | None, axis: int) -> Array:
    shape = [1] * integers.ndim
    if scales.size > 1:
        shape[axis] = scales.size
    shifted = integers.astype(np.float32)
    if zeros is not None:
        shifted = shifted - zeros.astype(np.float32).reshape(shape if zeros.size > 1 else [1] * integers.ndim)
    made: Array = shifted * scales.astype(np.float32).reshape(shape)
    return made


def _array(node: ir.Node, index: int | None) -> Array | None:
    return _content(node.inputs[index]) if index is not None and index < len(node.inputs) else None


def _content(value: ir.Value | None) -> Array | None:
    found = trace(value)
    tensor = constant_tensor(found.source) if found is not None and not found.path else None
    return weight_data.array(tensor) if tensor is not None else None

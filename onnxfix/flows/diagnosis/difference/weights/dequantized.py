"""What integers in a graph stand for, by the operators that read them: the numbers, their scales and their bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import integer
from onnxfix.nouns.weights import weight_data
from onnxfix.nouns.weights.weight_data import Array
from onnxfix.surgery.sites.constants import Trace, constant_tensor, trace
from onnxfix.surgery.sites.linear import quantized_weights
from onnxfix.surgery.sites.linear.linears import INTEGER_PRODUCTS, SMALL_INTEGERS, Linear

_PLACES = {**INTEGER_PRODUCTS, "DequantizeLinear": 0, "GatherBlockQuantized": 0}
"""Which input of an operator holds the integers."""


@dataclass(frozen=True)
class Dequantized:
    """`source` holds the integers, `beside` their scales and zero points; `values` are float32."""

    source: ir.TensorProtocol
    beside: tuple[ir.TensorProtocol, ...]
    values: Array
    bits: int
    scales: int


def has_integers(tensors: list[ir.TensorProtocol]) -> bool:
    """Whether any of these weights could be of integers in another's place."""
    return any(tensor.dtype in SMALL_INTEGERS for tensor in tensors)


def find(model: Model) -> Iterator[Dequantized]:
    """Each weight of integers once, one at a time in memory; forms that are not read are passed over."""
    seen: set[int] = set()
    for node in model.nodes():
        source = _source(node)
        if source is None or id(source) in seen:
            continue
        found = _read(node)
        if found is not None:
            seen.add(id(source))
            values, bits, scales = found
            beside = tuple(t for t in map(constant_tensor, _constants(node)) if t is not None and t is not source)
            yield Dequantized(source, beside, values, bits, scales)


def _source(node: ir.Node) -> ir.TensorProtocol | None:
    index = _PLACES.get(node.op_type, -1)
    if not 0 <= index < len(node.inputs):
        return None
    found = trace(node.inputs[index])
    tensor = constant_tensor(found.source) if found is not None else None
    return tensor if tensor is not None and tensor.dtype in SMALL_INTEGERS else None


def _read(node: ir.Node) -> tuple[Array, int, int] | None:
    try:
        return _numbers(node)
    except (ArithmeticError, LookupError, ValueError):  # sizes that do not fit: the runtime says it
        return None


def _numbers(node: ir.Node) -> tuple[Array, int, int] | None:
    if node.op_type in ("DequantizeLinear", "GatherBlockQuantized"):
        return _blocks(node)
    found = trace(node.inputs[INTEGER_PRODUCTS[node.op_type]])
    read = quantized_weights.read(Linear(node, found, True)) if found is not None else None
    return (read.values, read.bits, read.scales) if read is not None else None


def _blocks(node: ir.Node) -> tuple[Array, int, int] | None:
    """Integers with a scale for all, for each slice along an axis, or for each block of one."""
    table = node.op_type == "GatherBlockQuantized"
    found = trace(node.inputs[0])
    integers, scales = _array(found), _array(trace(_input(node, 2 if table else 1)))
    zeros = _array(trace(_input(node, 3 if table else 2)))
    if integers is None or scales is None or found is None:
        return None
    tensor = constant_tensor(found.source)
    assert tensor is not None
    bits = {ir.DataType.INT4: 4, ir.DataType.UINT4: 4}.get(tensor.dtype, 8)
    axis = integer(node, "quantize_axis" if table else "axis", 1)
    if table and tensor.dtype == ir.DataType.UINT8:
        bits = integer(node, "bits", 4)
        if bits not in (2, 4, 8):
            return None
        integers = _unpacked(integers.reshape(integers.shape[0], -1), bits)
        zeros = None if zeros is None else _unpacked(zeros, bits)[..., : scales.shape[-1]]
        zeros = np.asarray(1 << (bits - 1)) if zeros is None else zeros
    values = integers.astype(np.float32)
    if zeros is not None:
        values = values - _spread(zeros.astype(np.float32), values.shape, axis)
    return values * _spread(scales.astype(np.float32), values.shape, axis), bits, int(scales.size)


def _unpacked(stored: Array, bits: int) -> Array:
    if bits == 8:
        return stored
    parts = [stored >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(*stored.shape[:-1], -1)


def _spread(scales: Array, shape: tuple[int, ...], axis: int) -> Array:
    """Scales to the shape of the integers, blocks along an axis repeated."""
    if scales.size == 1:
        return scales.reshape(())
    axis %= len(shape)
    if scales.ndim == 1 and len(shape) > 1:
        return scales.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    repeated = np.repeat(scales, -(-shape[axis] // scales.shape[axis]), axis=axis)
    return np.take(repeated, np.arange(shape[axis]), axis=axis)


def _array(found: Trace | None) -> Array | None:
    tensor = constant_tensor(found.source) if found is not None else None
    return weight_data.array(tensor) if tensor is not None else None


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _constants(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads, and factors behind a product of integers, which are its scales."""
    readers = [node, *(r for v in node.outputs for r in v.consumers() if r.op_type in ("Mul", "Cast"))]
    readers += [r for n in readers[1:] for v in n.outputs for r in v.consumers() if r.op_type == "Mul"]
    makers = [v.producer() for n in readers[1:] for v in n.inputs if v is not None]
    readers += [m for m in makers if m is not None and m.op_type == "Mul"]
    for reader in readers:
        yield from (value for value in reader.inputs if value is not None)

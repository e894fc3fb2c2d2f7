"""Floating point or integer operations of all products of a graph, and how many of them are on quantized numbers.

A product takes two operations (multiply, add) for each element of its result and each number summed in it. Counted are
MatMul, Gemm, Conv, ConvTranspose and Einsum of two operands, their integer forms, and attention's two products, also in
the operators that fuse them. Bodies of control flow count once: how often a loop runs is not in the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_ir as ir

from onnxfix.plan import Flops, Sizes
from onnxfix.surgery.sites.constants import constant_tensor

from .product_shapes import OPERANDS, Shape, turned, whole
from .quantized_units import DEQUANTIZE, MOVES
from .shape_walk import shapes_at

PACKED = ("MatMulNBits", "MatMulBnb4")
INTEGERS = frozenset({*PACKED, "MatMulInteger", "QLinearMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
                      "QGemm", "ConvInteger", "QLinearConv"})  # fmt: skip
CONVOLUTIONS = ("Conv", "ConvInteger", "QLinearConv")
# Products whose number depends on what a cache holds, or on which expert a token is sent to.
UNCOUNTED = frozenset({"GroupQueryAttention", "PagedAttention", "DecoderMaskedMultiHeadAttention", "SparseAttention",
                       "MoE", "QMoE", "DecoderAttention", "PackedAttention", "PackedMultiHeadAttention"})  # fmt: skip
ATTENTION = {"Attention", "QAttention", "MultiHeadAttention"}


def flops(model: ir.Model, sizes: Sizes, recorded: Mapping[str, ir.Shape]) -> Flops | None:
    """The operations of one run at `sizes`, None where the shape of a product is not known.

    `recorded`: shapes that the file states, by name.
    """
    nodes = [n for n in model.graph.all_nodes() if _counts(n)]
    if not nodes:
        return Flops(0, 0)
    shapes = shapes_at(model, sizes, recorded)
    total = quantized = 0
    for node in nodes:
        found = _of_node(node, shapes)
        if found is None:
            return None
        total, quantized = total + sum(found), quantized + found[1]
    return Flops(total, quantized)


def _counts(node: ir.Node) -> bool:
    kinds = (OPERANDS, PACKED, ATTENTION, UNCOUNTED, ("Einsum",))
    return any(node.op_type in kind for kind in kinds)


def _of_node(node: ir.Node, shapes: Mapping[ir.Value, Shape]) -> tuple[int, int] | None:
    """Operations in float and on quantized numbers."""
    if node.op_type in ATTENTION:
        return _of_attention(node, shapes)
    operations = _operations(node, shapes)
    if operations is None:
        return None
    return (0, operations) if _is_quantized(node) else (operations, 0)


def _operations(node: ir.Node, shapes: Mapping[ir.Value, Shape]) -> int | None:
    if node.op_type in UNCOUNTED:
        return None
    if node.op_type == "Einsum":
        return _of_einsum(node, shapes)
    result = shapes.get(node.outputs[0])
    if node.op_type in PACKED:
        return None if result is None else 2 * whole(node, "K", 0) * math.prod(result)
    first, second = (_shape(node.inputs[i], shapes) for i in OPERANDS[node.op_type])
    if node.op_type == "ConvTranspose":  # each number of the input is multiplied with all of its channel's weights
        return None if first is None or second is None else 2 * math.prod(first) * math.prod(second[1:])
    if result is None or first is None or second is None:
        return None
    convolution = node.op_type in CONVOLUTIONS
    summed = math.prod(second[1:]) if convolution else turned(first, whole(node, "transA", 0))[-1]
    return 2 * summed * math.prod(result)


def _of_einsum(node: ir.Node, shapes: Mapping[ir.Value, Shape]) -> int | None:
    """Of two operands; an Einsum of one is no product."""
    operands = node.attributes["equation"].as_string().replace(" ", "").partition("->")[0].split(",")
    known = [_shape(v, shapes) for v in node.inputs]
    if len(operands) == 1:
        return 0
    if len(operands) > 2 or None in known or any("." in term for term in operands):
        return None
    sizes = {letter: size for term, shape in zip(operands, known, strict=True)
             for letter, size in zip(term, shape or (), strict=True)}  # fmt: skip
    return 2 * math.prod(sizes.values())


def _of_attention(node: ir.Node, shapes: Mapping[ir.Value, Shape]) -> tuple[int, int] | None:
    """Scores and their product with the values, in float; contributed forms also project, QAttention in integers."""
    given = [_shape(v, shapes) for v in node.inputs]
    if node.domain == "com.microsoft" and node.op_type != "MultiHeadAttention":
        if len(given) < 2 or given[0] is None or given[1] is None or len(given[0]) != 3:
            return None
        (batch, length, width), three = given[0], given[1][1]
        project, scores = 2 * batch * length * width * three, 4 * batch * length * length * three // 3
        return (scores, project) if node.op_type == "QAttention" else (scores + project, 0)
    if len(given) < 3 or any(s is None or len(s) != len(given[0] or ()) for s in given[:3]):
        return None
    if any(v is not None for v in node.inputs[4 if node.domain == "" else 6 :]):  # a cache as long as it is
        return None
    q, k, v = (s for s in given[:3] if s is not None)
    heads = q[1] if len(q) == 4 else whole(node, "q_num_heads", whole(node, "num_heads", 1))
    length = q[2] if len(q) == 4 else q[1]
    size = q[3] if len(q) == 4 else q[2] // heads
    groups = 1 if len(q) == 4 else whole(node, "kv_num_heads", heads)
    values = v[3] if len(q) == 4 else v[2] // groups
    return 2 * q[0] * heads * length * k[-2] * (size + values), 0


def _shape(value: ir.Value | None, shapes: Mapping[ir.Value, Shape]) -> Shape | None:
    return None if value is None else shapes.get(value)


def _is_quantized(node: ir.Node) -> bool:
    """In integers, or over a quantized weight, or of two dequantized activations."""
    if node.op_type in INTEGERS:
        return True
    operands = [node.inputs[i] for i in OPERANDS.get(node.op_type, (0, 1))]
    found = [_dequantizer(v) for v in operands]
    if all(n is not None for n in found):
        return True
    return any(n is not None and constant_tensor(n.inputs[0]) is not None for n in found)


def _dequantizer(value: ir.Value | None) -> ir.Node | None:
    while value is not None and (producer := value.producer()) is not None:
        if producer.op_type == DEQUANTIZE:
            return producer
        if producer.op_type not in MOVES:
            return None
        value = producer.inputs[0]
    return None

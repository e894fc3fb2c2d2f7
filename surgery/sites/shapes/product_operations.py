"""Floating point or integer operations of one product, from the shapes of what it reads and makes.

A product takes two operations (multiply, add) for each element of its result and each number summed in it. Counted are
MatMul, Gemm, Conv, ConvTranspose and Einsum of two operands, their integer forms, and attention's two products, also in
the operators that fuse them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_ir as ir

from onnxfix.nouns.types.operators import attribute, integer, is_standard
from onnxfix.surgery.sites.constants import TRANSPARENT, constant_tensor

Shape = tuple[int, ...]

MATRICES = {"MatMul": (0, 1), "MatMulInteger": (0, 1), "MatMulIntegerToFloat": (0, 1), "DynamicQuantizeMatMul": (0, 1),
            "FusedMatMul": (0, 1), "QLinearMatMul": (0, 3)}  # fmt: skip
CONVOLUTIONS = {"Conv": (0, 1), "ConvInteger": (0, 1), "QLinearConv": (0, 3)}
OPERANDS = {**MATRICES, **CONVOLUTIONS, "Gemm": (0, 1), "QGemm": (0, 3), "ConvTranspose": (0, 1)}
"""Activation and weight of every product, by index of the input."""
PACKED = ("MatMulNBits", "MatMulBnb4")
INTEGERS = frozenset({*PACKED, "MatMulInteger", "QLinearMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
                      "QGemm", "ConvInteger", "QLinearConv"})  # fmt: skip
# Products whose number depends on what a cache holds, or on which expert a token is sent to.
UNCOUNTED = frozenset({"GroupQueryAttention", "PagedAttention", "DecoderMaskedMultiHeadAttention", "SparseAttention",
                       "MoE", "QMoE", "DecoderAttention", "PackedAttention", "PackedMultiHeadAttention"})  # fmt: skip
ATTENTION = {"Attention", "QAttention", "MultiHeadAttention"}


def turned(shape: Shape, turn: int) -> Shape:
    """A matrix with its last two axes swapped where an attribute says so."""
    return (*shape[:-2], shape[-1], shape[-2]) if turn else shape


def is_product(node: ir.Node) -> bool:
    """Whether a node multiplies matrices, also where its operations cannot be counted."""
    kinds = (OPERANDS, PACKED, ATTENTION, UNCOUNTED, ("Einsum",))
    return any(node.op_type in kind for kind in kinds)


def operations(node: ir.Node, shapes: Mapping[ir.Value, Shape]) -> tuple[int, int] | None:
    """Operations of a product in float, and in integers or over a quantized weight; None where a shape is missing."""
    if node.op_type in ATTENTION:
        return _of_attention(node, shapes)
    count = _counted(node, shapes)
    if count is None:
        return None
    return (0, count) if _is_quantized(node) else (count, 0)


def _counted(node: ir.Node, shapes: Mapping[ir.Value, Shape]) -> int | None:
    if node.op_type in UNCOUNTED:
        return None
    if node.op_type == "Einsum":
        return _of_einsum(node, shapes)
    result = shapes.get(node.outputs[0])
    if node.op_type in PACKED:
        return None if result is None else 2 * integer(node, "K", 0) * math.prod(result)
    first, second = (_shape(node.inputs[i], shapes) for i in OPERANDS[node.op_type])
    if node.op_type == "ConvTranspose":  # each number of the input is multiplied with all of its channel's weights
        return None if first is None or second is None else 2 * math.prod(first) * math.prod(second[1:])
    if result is None or not first or not second:
        return None  # a number is no matrix
    convolution = node.op_type in CONVOLUTIONS
    summed = math.prod(second[1:]) if convolution else turned(first, integer(node, "transA", 0))[-1]
    return 2 * summed * math.prod(result)


def _of_einsum(node: ir.Node, shapes: Mapping[ir.Value, Shape]) -> int | None:
    """Of two operands; an Einsum of one is no product."""
    operands = str(attribute(node, "equation", "")).replace(" ", "").partition("->")[0].split(",")
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
    heads = q[1] if len(q) == 4 else integer(node, "q_num_heads", integer(node, "num_heads", 1))
    if heads < 1 or (len(q) == 3 and integer(node, "kv_num_heads", heads) < 1):
        return None  # no operator of a graph that runs
    length = q[2] if len(q) == 4 else q[1]
    size = q[3] if len(q) == 4 else q[2] // heads
    groups = 1 if len(q) == 4 else integer(node, "kv_num_heads", heads)
    values = v[3] if len(q) == 4 else v[2] // groups
    return 2 * q[0] * heads * length * k[-2] * (size + values), 0


def _shape(value: ir.Value | None, shapes: Mapping[ir.Value, Shape]) -> Shape | None:
    return None if value is None else shapes.get(value)


def _is_quantized(node: ir.Node) -> bool:
    """In integers, or over a quantized weight, or of two dequantized activations."""
    if node.op_type in INTEGERS:
        return True
    operands = [node.inputs[i] for i in OPERANDS.get(node.op_type, (0, 1)) if i < len(node.inputs)]
    found = [dequantizer(v) for v in operands]
    if len(found) > 1 and all(n is not None for n in found):  # an Einsum may have one operand
        return True
    return any(n is not None and constant_tensor(n.inputs[0]) is not None for n in found)


def dequantizer(value: ir.Value | None) -> ir.Node | None:
    """The DequantizeLinear that a value comes from, through what only moves data."""
    while value is not None and (producer := value.producer()) is not None:
        if producer.op_type == "DequantizeLinear":
            return producer
        if producer.op_type not in TRANSPARENT or not is_standard(producer):
            return None
        value = producer.inputs[0]
    return None

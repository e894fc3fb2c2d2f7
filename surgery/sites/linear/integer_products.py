"""Products of quantized activations with a constant int8 weight, as ONNX Runtime's CPU provider computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import attribute, is_standard
from onnxfix.nouns.weights import weight_data
from onnxfix.surgery.sites.constants import Array, Trace, constant_tensor, mover, small_array, trace

from .quantized_pairs import Pair, fused

MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class IntegerProduct:
    """One product a·w of a uint8 activation [..., K] with an int8 weight [K, N], and what becomes of its int32 sums.

    The sums, plus `bias` where that is int32, are the result of MatMulInteger (`scales` is None); else they are
    multiplied by `alpha` and both `scales`. `requantized` (scale, zero point) rounds that to 8 bits; without it the
    result is float, to which a float `bias` is added.
    """

    node: ir.Node
    activation: ir.Value
    kind: str
    """Type of `activation`: `tensor(uint8)`; `tensor(int8)` before a QDQ product, where the runtime adds 128;
    `tensor(float)` before DynamicQuantizeMatMul, which quantizes it."""
    weight: Trace
    turned: bool
    """The traced weight is [N, K]."""
    scales: tuple[ir.Value | None, ir.Value] | None
    """Of activation and weight; the first is None where the operator computes it."""
    zero_points: tuple[ir.Value | None, ir.Value | None]
    bias: ir.Value | None
    requantized: tuple[ir.Value, ir.Value | None] | None
    result: ir.Value
    """What the product makes once fused: behind the QuantizeLinear of a QDQ product, else the node's output."""
    alpha: float = 1.0
    turn_activation: bool = False

    def matrix(self) -> Array:
        """The weight as int8 of shape [K, N]; computed anew at each call."""
        return _moved(self.weight, self.turned)


def find(model: Model, types: ElementTypes | None = None) -> Iterator[IntegerProduct]:
    """All such products of the main graph and its sub-graphs, in graph order.

    Stacks of matrices as weight, weights made at run time, and weights with a zero point made at run time are left
    out. So are operators that saturate as well but are no linear layers: ConvInteger, QLinearConv, QAttention.
    """
    known = types or infer(model.ir)
    for node in model.nodes():
        product = _product(node, known)
        if product is not None and _is_signed_matrix(product):
            yield product


def _product(node: ir.Node, types: ElementTypes) -> IntegerProduct | None:
    default = is_standard(node)
    if default and node.op_type in ("MatMul", "Gemm"):
        pair = fused(node, types)
        return _of_pair(node, pair) if pair is not None else None
    read = _READERS.get((node.op_type, "" if default else node.domain))
    found = read(node) if read is not None else None
    if found is None:
        return None
    expected = "tensor(float)" if node.op_type == "DynamicQuantizeMatMul" else "tensor(uint8)"
    return found if types.get(found.activation) == expected else None


def _of_pair(node: ir.Node, pair: Pair) -> IntegerProduct:
    return IntegerProduct(
        node=node,
        activation=pair.activation,
        kind=pair.kind,
        weight=pair.weight,
        turned=pair.turned,
        scales=(pair.activation_scale, pair.weight_scale),
        zero_points=(pair.activation_zero, pair.weight_zero),
        bias=pair.bias,
        requantized=pair.requantized,
        result=pair.result,
    )


def _operator(
    *,
    weight: int,
    scales: tuple[int | None, int] | None,
    zeros: tuple[int | None, int],
    bias: int | None = None,
    output: tuple[int, int] | None = None,
) -> Callable[[ir.Node], IntegerProduct | None]:
    """A reader of one operator, from the indices of its inputs."""

    def read(node: ir.Node) -> IntegerProduct | None:
        def at(index: int | None) -> ir.Value | None:
            return node.inputs[index] if index is not None and index < len(node.inputs) else None

        activation, traced = at(0), trace(at(weight))
        weight_scale = at(scales[1]) if scales else None
        if activation is None or traced is None or (scales is not None and weight_scale is None):
            return None
        scale = at(output[0]) if output else None
        return IntegerProduct(
            node=node,
            activation=activation,
            kind="tensor(float)" if node.op_type == "DynamicQuantizeMatMul" else "tensor(uint8)",
            weight=traced,
            turned=bool(attribute(node, "transB", 0)),
            scales=(at(scales[0]), weight_scale) if scales and weight_scale is not None else None,
            zero_points=(at(zeros[0]), at(zeros[1])),
            bias=at(bias),
            requantized=(scale, at(output[1])) if output and scale is not None else None,
            result=node.outputs[0],
            alpha=float(attribute(node, "alpha", 1.0)),
            turn_activation=bool(attribute(node, "transA", 0)),
        )

    return read


_READERS = {
    ("MatMulInteger", ""): _operator(weight=1, scales=None, zeros=(2, 3)),
    ("QLinearMatMul", ""): _operator(weight=3, scales=(1, 4), zeros=(2, 5), output=(6, 7)),
    ("MatMulIntegerToFloat", MICROSOFT): _operator(weight=1, scales=(2, 3), zeros=(4, 5), bias=6),
    ("DynamicQuantizeMatMul", MICROSOFT): _operator(weight=1, scales=(None, 2), zeros=(None, 3), bias=4),
    ("QGemm", MICROSOFT): _operator(weight=3, scales=(1, 4), zeros=(2, 5), bias=6, output=(7, 8)),
}


def _is_signed_matrix(product: IntegerProduct) -> bool:
    tensor = constant_tensor(product.weight.source)
    zero = product.zero_points[1]
    if tensor is None or tensor.dtype != ir.DataType.INT8 or any(n.op_type == "Cast" for n in product.weight.path):
        return False
    if zero is not None and small_array(zero, limit=1 << 20) is None:
        return False
    return len(tensor.shape) == 2 if not product.weight.path else product.matrix().ndim == 2


def _moved(weight: Trace, turned: bool) -> Array:
    tensor = constant_tensor(weight.source)
    assert tensor is not None
    array = weight_data.array(tensor)
    for node in weight.path:
        move = mover(node)
        if move is None:
            return np.empty((0,), np.int8)
        array = move(array)
    return array.T if turned else array

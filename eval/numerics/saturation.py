"""int8 products as a CPU without VNNI computes them, on any machine: sums of two products saturate in 16 bits.

See `surgery.sites.saturation` for which sums these are. The product is computed exactly, with the weight as uint8,
whose kernels saturate nowhere, and what the pairs lose is added to its int32 sums. Everything after the sums is
written out in plain operators, in the order that ONNX Runtime's fused operators use, so that nothing fuses again: the
result is the same at every optimisation level and on a CPU that saturates by itself.

Compared bit by bit with ONNX Runtime 1.31.1 without VNNI, by `tools/without_vnni.py`: sums and 8-bit results are
equal, floats too, for MatMulInteger, MatMulIntegerToFloat, DynamicQuantizeMatMul, QLinearMatMul, QGemm and QDQ pairs.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxfix.eval.run import pair_sums
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.surgery.sites.constants import Array, constant_tensor, small_array
from onnxfix.surgery.sites.linear import integer_products, saturation
from onnxfix.surgery.sites.linear.integer_products import IntegerProduct

from .insertion import Insertion
from .lost_sums import lost

NEWER = "export it again with a newer one"
_RANGES = {ir.DataType.UINT8: (0.0, 255.0), ir.DataType.INT8: (-128.0, 127.0)}


def saturated(model: Model) -> Model:
    """A copy of the model whose integer products lose what 16-bit sums of pairs lose.

    Products without a pair that can saturate stay as they are. A product between DequantizeLinear nodes is taken as
    the runtime fuses it from optimisation level `extended` on, with the QuantizeLinear behind it where that alone
    reads it; at lower levels the real runtime computes it in float and loses nothing.

    Raises OnnxfixError below operator set 11.
    """
    if model.opset < 11:  # CumSum
        raise OnnxfixError(f"{model.path} has operator set {model.opset}, too old to write 16-bit sums in", NEWER)
    copy = model.clone()
    # backwards: what a product reads is then still the value that was found
    for product in reversed(list(integer_products.find(copy))):
        matrix = product.matrix()
        pairs = saturation.saturating(matrix)
        if len(pairs.first):
            _Rewriter(product).rewrite(matrix, pairs)
    return copy


def exact(model: Model) -> Model:
    """A copy of the model whose integer products lose nothing on this CPU, whatever it has: the model itself where this
    one sums exactly."""
    if not pair_sums.saturate():
        return model
    copy = model.clone()
    for product in reversed(list(integer_products.find(copy))):
        matrix = product.matrix()
        if len(saturation.saturating(matrix).first):
            _Rewriter(product).rewrite(matrix, None)
    return copy


class _Rewriter:
    def __init__(self, product: IntegerProduct) -> None:
        producer = product.result.producer()
        assert producer is not None
        self.product = product
        self.old = [producer] if producer is product.node else [producer, product.node]
        self.add = Insertion(producer, "saturated")
        self.scales, self.zero = product.scales, product.zero_points[0]
        self.in_float: ir.Value | None = None

    def rewrite(self, matrix: Array, pairs: saturation.Pairs | None) -> None:
        """Sums of which `pairs` lose what they lose; without any, exact ones."""
        activation = self._activation()
        weight = self.add.constant((matrix.astype(np.int16) + 128).astype(np.uint8), "weight")
        sums = self.add.node("MatMulInteger", activation, weight, self.zero, self._weight_zero())
        if pairs is not None:
            losses = lost(self.add, activation, matrix, pairs)
            losses = self.add.node("Reshape", losses, self.add.node("Shape", sums))
            sums = self.add.node("Add", sums, losses)
        result = self._finished(sums)
        self.add.replace(self.product.result, result)
        name = self.product.node.outputs[0].name
        for node in self.old:
            _remove_dead(node)
        if self.in_float is not None and self.product.node.graph is None:
            self.in_float.name = name  # what the layer gives before it is rounded, to compare with

    def _activation(self) -> ir.Value:
        """The activation as uint8, and its zero point with it."""
        value, node = self.product.activation, self.add.node
        if self.product.turn_activation:
            value = node("Transpose", value, perm=[1, 0])
        if self.product.kind == "tensor(float)":
            assert self.scales is not None
            value, scale, self.zero = node("DynamicQuantizeLinear", value, outputs=3)
            self.scales = scale, self.scales[1]
        elif self.product.kind == "tensor(int8)":
            value = self._shifted(value)
            self.zero = self._shifted(self.zero) if self.zero is not None else self._byte(128)
        return value

    def _shifted(self, value: ir.Value) -> ir.Value:
        wide = self.add.node("Cast", value, to=ir.DataType.INT32)
        sums = self.add.node("Add", wide, self.add.constant(np.array(128, np.int32), "shift"))
        byte: ir.Value = self.add.node("Cast", sums, to=ir.DataType.UINT8)
        return byte

    def _byte(self, number: int) -> ir.Value:
        return self.add.constant(np.array(number, np.uint8), "zero")

    def _weight_zero(self) -> ir.Value:
        zero = small_array(self.product.zero_points[1], limit=1 << 20)
        if zero is None:
            return self._byte(128)
        return self.add.constant((zero.astype(np.int16) + 128).astype(np.uint8), "weight_zero")

    def _finished(self, sums: ir.Value) -> ir.Value:
        """What the operator makes of its int32 sums."""
        node, bias = self.add.node, self.product.bias
        if self.scales is None:
            return sums
        left, right = self.scales
        assert left is not None
        if self.product.alpha != 1.0:
            left = node("Mul", self.add.constant(np.array(self.product.alpha, np.float32), "alpha"), left)
        scale = node("Mul", left, right)
        in_integers = bias is not None and (self.product.node.op_type in ("QGemm", "Gemm"))
        if bias is not None and in_integers:
            sums = node("Add", sums, self._integer_bias(bias, scale))
        wide = node("Cast", sums, to=ir.DataType.FLOAT)
        if self.product.requantized is not None:
            self.in_float = node("Mul", wide, scale)
            return self._requantized(wide, scale, *self.product.requantized)
        result: ir.Value = node("Mul", wide, scale)
        return result if bias is None or in_integers else node("Add", result, bias)

    def _integer_bias(self, bias: ir.Value, scale: ir.Value) -> ir.Value:
        """The bias of a Gemm; the runtime rounds a float one to the scale of the sums."""
        known = constant_tensor(bias)
        if known is None or known.dtype != ir.DataType.FLOAT:
            return bias
        rounded = self.add.node("Round", self.add.node("Div", bias, scale))
        result: ir.Value = self.add.node("Cast", rounded, to=ir.DataType.INT32)
        return result

    def _requantized(self, wide: ir.Value, scale: ir.Value, of: ir.Value, zero: ir.Value | None) -> ir.Value:
        node = self.add.node
        known = constant_tensor(zero)
        kind = known.dtype if known is not None else ir.DataType.UINT8
        rounded = node("Round", node("Mul", wide, node("Div", scale, of)))
        if zero is not None:
            rounded = node("Add", rounded, node("Cast", zero, to=ir.DataType.FLOAT))
        low, high = (self.add.constant(np.array(x, np.float32), "bound") for x in _RANGES[kind])
        result: ir.Value = node("Cast", node("Min", node("Max", rounded, low), high), to=kind)
        return result


def _remove_dead(node: ir.Node) -> None:
    """Take a node nobody reads out of its graph, and the DequantizeLinear nodes that were there for it alone."""
    graph = node.graph
    if graph is None or any(v.uses() or v.is_graph_output() for v in node.outputs):
        return
    producers = [v.producer() for v in node.inputs if v is not None]
    graph.remove(node, safe=True)
    for producer in producers:
        if producer is not None and producer.op_type in ("DequantizeLinear", "Transpose"):
            _remove_dead(producer)

"""Units of a QDQ graph: an operator with the DequantizeLinear nodes before it and the QuantizeLinear nodes behind it.

ONNX Runtime fuses such a unit into one integer kernel or leaves all of its nodes as they are. Which of the two depends
on the unit alone, not on its sizes, so that one of each kind stands for all layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.types.operators import bodies
from onnxfix.surgery.sites.constants import constant_tensor

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})
MOVES = frozenset({"Transpose", "Reshape", "Cast", "Identity", "Squeeze", "Unsqueeze"})
_COPIES = frozenset({"Concat", "Expand", "Flatten", "Gather", "GatherElements", "Pad", "ScatterElements", "ScatterND",
                     "Slice", "Split", "Tile"})  # fmt: skip
"""Lossless between pairs of one scale, where the runtime itself may have moved the pairs to."""
CLIPS = frozenset({"Relu", "Clip"})
"""What a fused kernel does by saturating, where a QuantizeLinear follows."""


@dataclass(frozen=True)
class Unit:
    """`before`: for each operand of the node its DequantizeLinear and what moves data between the two, empty for one
    that is not dequantized; `after`: a Clip or Relu, and QuantizeLinear nodes."""

    node: ir.Node
    before: tuple[tuple[ir.Node, ...], ...]
    after: tuple[ir.Node, ...]

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """All nodes, in an order in which they can run, the other halves of the pairs included: ONNX Runtime turns
        int8 into uint8 in a QuantizeLinear and its one DequantizeLinear together."""
        paths = [path for path in self.before if path]
        made = [path[0].inputs[0].producer() for path in paths if path[0].inputs[0] is not None]
        quantizers = [q for q in made if q is not None and q.op_type == QUANTIZE]
        before = [*quantizers, *(n for q in quantizers for n in _dequantizers(q)), *(n for p in paths for n in p)]
        behind = [n for q in self.after for n in _dequantizers(q)]
        return tuple(dict.fromkeys((*before, self.node, *self.after, *behind)))

    @property
    def is_product(self) -> bool:
        return self.node.op_type in PRODUCTS

    @property
    def has_weight(self) -> bool:
        return self.is_product and (self.is_constant(0) or self.is_constant(1))

    def dequantizes(self, index: int) -> bool:
        return index < len(self.before) and bool(self.before[index])

    def is_constant(self, index: int) -> bool:
        """Whether an operand is a constant, dequantized or not: a weight or a bias."""
        if index >= len(self.node.inputs):
            return False
        path = self.before[index]
        return constant_tensor(path[0].inputs[0] if path else self.node.inputs[index]) is not None


def units(model: ir.Model) -> Iterator[Unit]:
    """What may be fused, in graph order: products with a weight and a dequantized operand, products of two dequantized
    activations, lookups in a dequantized table, and what else computes on dequantized numbers only and has all of its
    results quantized again."""
    for node in model.graph.all_nodes():
        if node.op_type in _NOT_UNITS or bodies(node):
            continue
        unit = Unit(node, tuple(_before(value) for value in node.inputs), tuple(_after(node)))
        if _is_one(unit):
            yield unit


_NOT_UNITS = frozenset({QUANTIZE, DEQUANTIZE, *MOVES})


def _is_one(unit: Unit) -> bool:
    if unit.is_product:
        # a product of a dequantized and a float activation, as in attention, is where a quantized part ends
        return any(unit.before[:2]) if unit.has_weight else all(unit.before[:2])
    if unit.node.op_type == "Gather":  # of a table, which would be dequantized whole
        return unit.dequantizes(0) and unit.is_constant(0)
    if unit.node.op_type in _COPIES:
        return False
    read = [i for i, v in enumerate(unit.node.inputs) if v is not None and not unit.is_constant(i)]
    if not read or not all(unit.before[i] and unit.before[i][-1].op_type == DEQUANTIZE for i in read):
        return False
    outputs = [v for v in unit.node.outputs if v.uses() or v.is_graph_output()]
    readers = [use.node.op_type for v in outputs for use in v.uses()]
    return bool(readers) and set(readers) == {QUANTIZE} and not any(v.is_graph_output() for v in outputs)


def _dequantizers(quantizer: ir.Node) -> list[ir.Node]:
    readers = [use.node for value in quantizer.outputs for use in value.uses()]
    return [n for n in readers if n.op_type == DEQUANTIZE] if quantizer.op_type == QUANTIZE else []


def _before(value: ir.Value | None) -> tuple[ir.Node, ...]:
    path: list[ir.Node] = []
    while value is not None and (producer := value.producer()) is not None:
        path.append(producer)
        if producer.op_type == DEQUANTIZE:
            return tuple(reversed(path))
        if producer.op_type not in MOVES:
            break
        value = producer.inputs[0]
    return ()


def _after(node: ir.Node) -> Iterator[ir.Node]:
    readers = [use.node for value in node.outputs for use in value.uses()]
    if len(readers) == 1 and readers[0].op_type in CLIPS:
        yield readers[0]
        readers = [use.node for value in readers[0].outputs for use in value.uses()]
    yield from dict.fromkeys(r for r in readers if r.op_type == QUANTIZE)

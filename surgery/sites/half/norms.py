"""Normalisations written out as Pow/ReduceMean/Sqrt, whose squares pass 65,504 at an activation of 256."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.constants import small_array

# Normalisations that are one operator. Their kernels sum in fp32 whatever the type of the input.
OPERATORS = frozenset(
    "LayerNormalization RMSNormalization SimplifiedLayerNormalization SkipLayerNormalization GroupNormalization "
    "SkipSimplifiedLayerNormalization InstanceNormalization BatchNormalization LpNormalization GroupNorm".split()
)
_MEANS = frozenset({"ReduceMean", "ReduceSum"})


@dataclass(frozen=True)
class NormSite:
    """The nodes of one written-out norm, from the square (and the mean it is taken around) to the division."""

    nodes: tuple[ir.Node, ...]


def find(model: Model) -> Iterator[NormSite]:
    """RMSNorm, LayerNorm and L2 norms by structure: a mean of squares that ends in a square root."""
    for node in model.nodes():
        if node.op_type in _MEANS and is_standard(node) and (square := _square(node.inputs[0])):
            forward = _to_division(node)
            if forward:
                yield NormSite((*_centre(square), square, node, *forward))


def operators(model: Model) -> list[ir.Node]:
    """Normalisations that are one operator."""
    return [node for node in model.nodes() if node.op_type in OPERATORS]


def _square(value: ir.Value | None) -> ir.Node | None:
    node = value.producer() if value is not None else None
    if node is None or node.graph is None:
        return None
    if node.op_type == "Mul" and node.inputs[0] is node.inputs[1]:
        return node
    if node.op_type == "Pow":
        exponent = small_array(node.inputs[1], limit=1)
        return node if exponent is not None and exponent.size == 1 and float(exponent.reshape(-1)[0]) == 2.0 else None
    return None


def _centre(square: ir.Node) -> list[ir.Node]:
    """Sub and its ReduceMean in front of the square: LayerNorm's subtraction of the mean."""
    centred = square.inputs[0].producer() if square.inputs[0] is not None else None
    if centred is None or centred.op_type != "Sub" or centred.inputs[1] is None:
        return []
    mean = centred.inputs[1].producer()
    return [mean, centred] if mean is not None and mean.op_type in _MEANS else []


def _to_division(mean: ir.Node) -> list[ir.Node]:
    """mean → (+ epsilon) → Sqrt or Pow(0.5, -0.5) → (Reciprocal) → Div or Mul; empty when there is no square root."""
    chain: list[ir.Node] = []
    rooted = False
    current = mean
    while len(chain) < 8:
        readers = current.outputs[0].consumers()
        if not readers:
            break
        reader = readers[0]
        if rooted and all(r.op_type in ("Div", "Mul") for r in readers) and not _is_reciprocal(reader, current):
            return [*chain, *readers]
        if len(readers) > 1 or reader.op_type not in ("Add", "Sqrt", "Pow", "Reciprocal", "Max", "Clip", "Div", "Mul"):
            break
        rooted = rooted or reader.op_type in ("Sqrt", "Pow")
        chain.append(reader)
        current = reader
    return []


def _is_reciprocal(node: ir.Node, root: ir.Node) -> bool:
    """1 / root, as TorchScript writes rsqrt: the norm goes on behind it."""
    if node.op_type != "Div" or node.inputs[1] is not root.outputs[0]:
        return False
    numerator = small_array(node.inputs[0], limit=1)
    return numerator is not None and numerator.size == 1

"""Normalisations written out as Pow/ReduceMean/Sqrt, whose squares pass 65,504 at an activation of 256."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import is_standard
from onnxfix.nouns.types.type_strings import HALVES
from onnxfix.surgery.sites.constants import small_array

# Normalisations that are one operator. Their kernels sum in fp32 whatever the type of the input.
OPERATORS = frozenset(
    "LayerNormalization RMSNormalization SimplifiedLayerNormalization SkipLayerNormalization GroupNormalization "
    "SkipSimplifiedLayerNormalization InstanceNormalization BatchNormalization LpNormalization GroupNorm".split()
)
_MEANS = frozenset({"ReduceMean", "ReduceSum"})
# Reductions that square for themselves; the last takes the root as well.
_SQUARING = frozenset({"ReduceSumSquare", "ReduceL2"})
_ONWARD = frozenset("Add Sqrt Pow Reciprocal Max Clip Div Mul Expand Cast Unsqueeze Reshape Sub".split())


@dataclass(frozen=True)
class NormSite:
    """The nodes of one written-out norm, from the square (and the mean it is taken around) to the division."""

    nodes: tuple[ir.Node, ...]
    sums: tuple[ir.Value, ...]
    """The square where it is a value of its own, and its sum or mean: what overflows in half."""

    def halves(self, types: ElementTypes) -> list[ir.Value]:
        """Of `sums`, what is computed in half precision."""
        return [value for value in self.sums if types.get(value) in HALVES]


def find(model: Model) -> Iterator[NormSite]:
    """RMSNorm, LayerNorm and L2 norms by structure: a sum or mean of squares that ends in a square root."""
    for node in model.nodes():
        if not is_standard(node) or not node.inputs:
            continue
        if node.op_type in _MEANS:
            squares = _squares(node.inputs[0])
        elif node.op_type in _SQUARING:
            squares = []
        else:
            continue
        forward = _to_division(node) if squares is not None else []
        if squares is None or not forward:
            continue
        centre = _centre(squares[0].inputs[0] if squares else node.inputs[0])
        sums = (*(square.outputs[0] for square in squares), node.outputs[0])
        yield NormSite((*centre, *squares, node, *forward), sums)


def unfusable(site: NormSite, types: ElementTypes) -> list[ir.Node]:
    """Nodes for which ONNX Runtime does not put a norm together, of one by a mean that is weighted: it puts no other
    together. It knows the square as Pow, and the root as a divisor (layer_norm_fusion.cc, 1.31.1)."""
    mean, last = site.sums[-1].producer(), site.nodes[-1]
    if mean is None or mean.op_type != "ReduceMean" or not any(r.op_type in ("Mul", "Cast") for r in _readers(last)):
        return []
    return [node for node in site.nodes if types.is_float32(node.outputs[0]) and (_is_square(node) or _is_root(node))]


def _readers(node: ir.Node) -> Sequence[ir.Node]:
    return node.outputs[0].consumers()


def _is_square(node: ir.Node) -> bool:
    return node.op_type == "Mul" and node.inputs[0] is node.inputs[1]


def _is_root(node: ir.Node) -> bool:
    """Whether it makes a root, or one over it, which then only multiplies."""
    if node.op_type == "Pow" and is_number(node.inputs[1], 0.5):
        return True
    if node.op_type == "Reciprocal":
        producer = node.inputs[0].producer() if node.inputs[0] is not None else None
        return producer is not None and producer.op_type in ("Sqrt", "Pow") and _only_multiplies(node)
    return node.op_type == "Pow" and is_number(node.inputs[1], -0.5) and _only_multiplies(node)


def _only_multiplies(node: ir.Node) -> bool:
    multiplied = all(r.op_type == "Mul" and r.inputs[0] is not r.inputs[1] for r in _readers(node))
    return multiplied and not node.outputs[0].is_graph_output()


def operators(model: Model) -> list[ir.Node]:
    """Normalisations that are one operator."""
    return [node for node in model.nodes() if node.op_type in OPERATORS]


def _squares(value: ir.Value | None) -> list[ir.Node] | None:
    """The square that a value is, and a Cast of it where there is one; None for what is no square."""
    node = value.producer() if value is not None else None
    if node is None or node.graph is None or not is_standard(node):
        return None
    if node.op_type == "Cast":
        before = _squares(node.inputs[0])
        return [*before, node] if before and before[-1].op_type != "Cast" else None
    if node.op_type == "Mul" and node.inputs[0] is node.inputs[1]:
        return [node]
    return [node] if node.op_type == "Pow" and is_number(node.inputs[1], 2.0) else None


def _centre(value: ir.Value | None) -> list[ir.Node]:
    """ReduceMean and Sub in front of the square: LayerNorm's subtraction of the mean."""
    centred = value.producer() if value is not None else None
    if centred is None or not is_standard(centred):
        return []
    if centred.op_type == "Cast":
        return _centre(centred.inputs[0])
    if centred.op_type != "Sub" or centred.inputs[1] is None:
        return []
    mean = centred.inputs[1].producer()
    return [mean, centred] if mean is not None and mean.op_type in _MEANS else []


def _to_division(mean: ir.Node) -> list[ir.Node]:
    """mean → (+ epsilon) → Sqrt or Pow(0.5, -0.5) → (Reciprocal) → Div or Mul; empty when there is no square root."""
    chain: list[ir.Node] = []
    rooted = mean.op_type == "ReduceL2"
    current = mean
    while len(chain) < 8:
        readers = current.outputs[0].consumers()
        if not readers:
            break
        reader = readers[0]
        if rooted and all(r.op_type in ("Div", "Mul") for r in readers) and not _is_reciprocal(reader, current):
            return [*chain, *readers]
        if len(readers) > 1 or reader.op_type not in _ONWARD:
            break
        rooted = rooted or reader.op_type in ("Sqrt", "Pow")
        chain.append(reader)
        current = reader
    return []


def _is_reciprocal(node: ir.Node, root: ir.Node) -> bool:
    """1 / root, as TorchScript writes rsqrt: the norm goes on behind it."""
    return node.op_type == "Div" and node.inputs[1] is root.outputs[0] and _is_constant(node.inputs[0])


def _is_constant(value: ir.Value | None) -> bool:
    array = small_array(value, limit=1)
    return array is not None and array.size == 1


def is_number(value: ir.Value | None, number: float) -> bool:
    """Whether it is a constant of one element, and that is `number`."""
    array = small_array(value, limit=1)
    return array is not None and array.size == 1 and float(array.reshape(-1)[0]) == number

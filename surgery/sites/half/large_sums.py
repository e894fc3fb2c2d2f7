"""Sums of so many values that half precision may not hold them, by how many they are.

Half has 11 bits and ends at 65,504: n values of magnitude m sum to n·m, and a mean in half fails in its sum. CUDA's
ReduceMean adds up in fp32, writes the sum in half and divides by half(n) (onnxruntime, providers/cuda/reduction), and
over rows it adds the sums of blocks in half as well, from 128 rows on. Up to 64 values one block does it, and the sum
overflows only where the mean passes 1,023. A plane of 512 × 512 overflows at 0.25 and is divided by infinity
(microsoft/onnxconverter-common#323).

Pools go to cuDNN as half tensors, whose documentation does not promise a sum in fp32; CumSum adds up in half; nothing
tells how LpNormalization sums its powers. Kernels that sum in fp32 are no site: MatMul, Conv, Softmax,
LayerNormalization, InstanceNormalization, attention.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import attribute, integer, is_standard
from onnxfix.surgery.sites.constants import constant_tensor, integers
from onnxfix.surgery.sites.shapes.dimensions import Dimensions, Shape

MOST = 64
"""Values that are few: see above."""
FLOATS = ("tensor(float)", "tensor(float16)", "tensor(bfloat16)")
# What they make grows with the number of values, which is not divided out: in fp32 however few there are.
SUMS = frozenset(
    "ReduceSum ReduceSumSquare ReduceL1 ReduceL2 ReduceProd ReduceLogSum ReduceLogSumExp CumSum CumProd LpPool "
    "GlobalLpPool LpNormalization".split()
)
_MEANS = frozenset({"ReduceMean", "AveragePool", "GlobalAveragePool", "Mean", "Sum"})
_SCATTERS = frozenset({"ScatterElements", "ScatterND"})
# Guards and data movement between a sum and what divides it.
_ON_THE_WAY = frozenset("Add Sub Max Clip Cast Identity Reshape Unsqueeze Squeeze Expand Transpose".split())
_ENDS = frozenset("Div Mul Sqrt Reciprocal Log Pow".split())
_LINEAR = frozenset({"ReduceSum", "ReduceSumSquare", "ReduceL1", "CumSum"})


@dataclass(frozen=True)
class LargeSum:
    """A node that sums `count` values, None where nothing tells how many. `reason`: why it should not be in half."""

    node: ir.Node
    count: int | None
    reason: str

    @property
    def is_large(self) -> bool:
        return self.count is None or self.count > MOST


def find(model: Model, types: ElementTypes) -> Iterator[LargeSum]:
    """Sums of floats that should be in fp32, in graph order: means of many, and every sum that is not divided."""
    shapes = Dimensions(model)
    for node in model.nodes():
        if not is_standard(node) or not node.inputs or types.get(node.inputs[0]) not in FLOATS:
            continue
        if node.op_type in SUMS:
            yield LargeSum(node, _count(node, shapes), "sum that can pass 65,504")
        elif node.op_type in _SCATTERS and attribute(node, "reduction", "none") not in ("none", b"none"):
            yield LargeSum(node, None, "sum of scattered values, which the CPU has no half kernel for")
        elif node.op_type in _MEANS:
            found = LargeSum(node, _count(node, shapes), "mean of many values, whose sum half does not hold")
            if found.is_large:
                yield found


def in_half(model: Model, types: ElementTypes) -> Iterator[LargeSum]:
    """Those of many values that are computed in half."""
    half = {"tensor(float16)", "tensor(bfloat16)"}
    return (s for s in find(model, types) if s.is_large and types.get(s.node.inputs[0]) in half)


def divisions(model: Model, sums: list[ir.Node]) -> list[ir.Node]:
    """What takes a sum back into range, and the guards in front of it: a mean that is written out is rounded behind
    its division, not before."""
    found: dict[ir.Node, None] = {}
    pending = [(v, n) for node in sums if node.op_type in _LINEAR for v in node.outputs for n in v.consumers()]
    while pending:
        value, node = pending.pop()
        if node in found or not is_standard(node) or node.op_type not in _ON_THE_WAY | _ENDS:
            continue
        others = [v for v in node.inputs if v is not None and v is not value]
        if node.op_type in ("Mul", "Add", "Sub") and any(constant_tensor(v) is None for v in others):
            continue  # an activation meets the sum: no division by a count
        found[node] = None
        if node.op_type not in _ENDS:
            pending.extend((v, n) for v in node.outputs for n in v.consumers())
    return list(found)


def _count(node: ir.Node, shapes: Dimensions) -> int | None:
    """How many values are summed to one, None where that is unknown."""
    shape = shapes.of(node.inputs[0])
    match node.op_type:
        case "Mean" | "Sum":
            return len(node.inputs)
        case "AveragePool" | "LpPool":
            return int(math.prod(attribute(node, "kernel_shape", ())))
        case "GlobalAveragePool" | "GlobalLpPool":
            return _product(shape, range(2, len(shape))) if shape is not None else None
        case "LpNormalization":
            return _product(shape, (integer(node, "axis", -1),))
        case "CumSum" | "CumProd":
            return _product(shape, integers(node.inputs[1]) if len(node.inputs) > 1 else None)
    return _reduced(node, shape)


def _reduced(node: ir.Node, shape: Shape | None) -> int | None:
    given = node.inputs[1] if len(node.inputs) > 1 else None
    axes = integers(given) if given is not None else tuple(attribute(node, "axes", ()))
    if axes == () and integer(node, "noop_with_empty_axes", 0):
        return 1
    return _product(shape, range(len(shape)) if shape is not None and axes == () else axes)


def _product(shape: Shape | None, axes: range | tuple[int, ...] | None) -> int | None:
    if shape is None or axes is None or any(not -len(shape) <= axis < len(shape) for axis in axes):
        return None
    lengths = [shape[axis] for axis in axes]
    return None if None in lengths else math.prod(n for n in lengths if n is not None)

"""Standards: inputs that a model brings to one size by constants of its own, and what size that shows them to have.

An income of 52,000 ± 30,000 is `x - mean`, `/ std` away from numbers about 1; pixels are a scale of 1/255 away. A
made-up input about 1 would be all but zero there, and say nothing of what half precision makes of a real one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.operators import attribute, is_standard
from onnxfix.surgery.sites.constants import constant_tensor

from .moves import DEPTH

Array = np.ndarray[Any, Any]
# Beyond these it is no measure of anything: a mask of -1e9, a weight that happens to be next to nothing.
_LARGEST_SHIFT, _LEAST_FACTOR, _LEAST_RATIO = 1e7, 1e-9, 1e-6


@dataclass(frozen=True)
class Standard:
    """What `shift + scale · noise` is an input of, along its last axes; nothing is made smaller than it would be."""

    shift: Array
    scale: Array

    @property
    def is_far(self) -> bool:
        """Whether numbers about 0 of size 1 are none of it."""
        return bool(np.abs(self.shift).max() > 1 or self.scale.max() > 1)

    def of(self, noise: Array) -> Array:
        """Noise about 0 of size 1 → an input; as it is where the constants are of other axes."""
        try:
            found = np.asarray(self.shift + self.scale * noise)
        except ValueError:
            return noise
        return found if found.shape == noise.shape else noise


def standards(inputs: Iterable[ir.Value]) -> Mapping[str, Standard]:
    """The names of inputs that are standardised, each with its standard."""
    found = {str(value.name): _standard(value) for value in inputs}
    return {name: standard for name, standard in found.items() if standard is not None}


def _standard(value: ir.Value) -> Standard | None:
    """From `a · x + b`, which the first nodes compute of the input x."""
    a, b, steps = np.array(1.0), np.array(0.0), 0
    for _ in range(DEPTH):
        uses = list(value.uses())
        if len(uses) != 1 or not is_standard(node := uses[0].node):
            break
        step = _affine(node, uses[0].idx)
        if step is None:
            break
        try:
            a, b = step[0] * a, step[0] * b + step[1]
        except ValueError:  # constants of axes that do not go together
            return None
        steps += node.op_type not in ("Cast", "Identity")
        value = node.outputs[0]
    factor = np.abs(a)
    if not steps or factor.min() < max(_LEAST_FACTOR, _LEAST_RATIO * factor.max()):
        return None
    shift = -b / a
    return Standard(shift, np.maximum(1 / factor, 1.0)) if np.abs(shift).max() < _LARGEST_SHIFT else None


def _affine(node: ir.Node, index: int) -> tuple[Array, Array] | None:
    """(a, b) of a node that computes a · x + b of its operand; None for any other."""
    one, zero = np.array(1.0), np.array(0.0)
    if node.op_type in ("Cast", "Identity"):
        return one, zero
    if node.op_type == "BatchNormalization" and index == 0:
        return _of_batches(node)
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or (node.op_type in ("Sub", "Div") and index):
        return None
    tensor = constant_tensor(node.inputs[1 - index])
    constant = None if tensor is None else tensor.numpy().astype(np.float64)
    if constant is None or not constant.size or not np.isfinite(constant).all():
        return None
    if node.op_type in ("Add", "Sub"):
        return one, constant if node.op_type == "Add" else -constant
    if not constant.all():
        return None
    return (constant if node.op_type == "Mul" else 1 / constant), zero


def _of_batches(node: ir.Node) -> tuple[Array, Array] | None:
    """By mean and variance alone, of axis 1; what follows is learned."""
    tensors = [constant_tensor(value) for value in node.inputs[3:5]]
    rank = len(node.inputs[0].shape or ()) if node.inputs[0] is not None else 0
    if len(tensors) != 2 or any(tensor is None for tensor in tensors) or rank < 2:
        return None
    mean, variance = (t.numpy().astype(np.float64).reshape(-1, *[1] * (rank - 2)) for t in tensors if t is not None)
    deviation = np.sqrt(variance + float(attribute(node, "epsilon", 1e-5)))
    return 1 / deviation, -mean / deviation

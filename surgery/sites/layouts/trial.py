"""A part of a graph tried on numbers: what it computes is told from results, not from which operators it is made of.

Sums of products of random numbers that agree with a formula in every element, at two sets of sizes, are that formula:
two different polynomials of degree 2 agree in a point drawn from 2^53 with a probability of nearly none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.operators import attribute, integer, is_standard
from onnxfix.surgery.sites.constants import Array, constant_tensor
from onnxfix.surgery.sites.sizes.pieces import piece

from .ground import Ground
from .scalars import number
from .views import RESHAPES, unchanged

# The largest value that is tried, in elements: 64 MB.
MOST = 1 << 23
_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Neg": np.negative
}  # fmt: skip
_ELEMENTWISE: dict[str, Callable[..., Any]] = {"Cos": np.cos, "Sin": np.sin, "Cast": np.positive}
MOVES = frozenset((*RESHAPES, "Transpose", "Expand", "Tile", "Concat", "Split", "Slice", "Gather", "SequenceAt"))


class UntriedError(Exception):
    """A value of unknown shape, or too large."""


class Trial:
    """Arrays of values: those given, what `arithmetic` and data movement make of them, and random numbers for all else.

    With `elementwise`, cosines and sines are taken as well, casts for the identity, and products but for those by a
    number are random: that tells which elements of a table are one, and nothing more.
    """

    def __init__(self, ground: Ground, given: Mapping[ir.Value, Array], *, elementwise: bool = False) -> None:
        self.ground, self.elementwise = ground, elementwise
        self.arrays: dict[ir.Value, Array] = dict(given)
        self.random = np.random.default_rng(0)

    def __call__(self, value: ir.Value) -> Array:
        """Raises UntriedError."""
        if value not in self.arrays:
            shape = self.ground.shape(value)
            if shape is None or int(np.prod(shape)) > MOST:
                raise UntriedError(value.name)
            made = self._made(value)
            self.arrays[value] = made if made is not None and made.shape == shape else self.random.random(shape)
        return self.arrays[value]

    def _made(self, value: ir.Value) -> Array | None:
        tensor, node = constant_tensor(value), value.producer()
        if tensor is not None:
            return tensor.numpy().astype(np.float64)
        if node is None or not is_standard(node) or not node.inputs:
            return None
        if node.op_type in _ARITHMETIC:
            return self._arithmetic(node)
        function = _ELEMENTWISE.get(node.op_type) if self.elementwise else None
        if function is not None or unchanged(node, self.ground):
            data = self(node.inputs[0]) if value is node.outputs[0] and node.inputs[0] is not None else None
            return data if function is None or data is None else np.asarray(function(data))
        return self._moved(node, value) if node.op_type in MOVES else None

    def _arithmetic(self, node: ir.Node) -> Array | None:
        numbers = [number(v, self.ground) for v in node.inputs]
        if self.elementwise and node.op_type != "Neg" and (node.op_type not in ("Mul", "Div") or numbers == [None] * 2):
            return None
        operands = [n if n is not None else self(v) for n, v in zip(numbers, node.inputs, strict=True) if v is not None]
        return np.asarray(_ARITHMETIC[node.op_type](*operands))

    def _moved(self, node: ir.Node, value: ir.Value) -> Array | None:
        shape, kind = self.ground.shape(value), node.op_type
        if (part := piece(node, self.ground.probe.shapes, self.ground.probe.numbers)) is not None:
            taken = np.take(self(part.whole), range(part.start, part.start + part.size), axis=part.axis)
            return taken.reshape(shape)
        if kind == "SequenceAt" or node.inputs[0] is None or shape is None:
            return None
        if kind == "Gather":
            return self._gathered(node)
        if kind == "Concat":
            return np.concatenate([self(v) for v in node.inputs if v is not None], axis=integer(node, "axis", 0))
        data = self(node.inputs[0])
        if kind in RESHAPES:
            return data.reshape(shape)
        if kind == "Transpose":
            return data.transpose(attribute(node, "perm", None))
        if kind == "Expand":
            return np.broadcast_to(data, shape)
        if kind == "Tile":
            times = self.ground.numbers(node.inputs[1])
            return None if times is None else np.tile(data, [int(n) for n in times])
        return self._split(node, value, data) if kind == "Split" else self._sliced(node, data)

    def _split(self, node: ir.Node, value: ir.Value, data: Array) -> Array | None:
        axis, start = integer(node, "axis", 0), 0
        for part in node.outputs:
            size = (self.ground.shape(part) or (0,) * data.ndim)[axis]
            if part is value:
                return np.take(data, range(start, start + size), axis=axis)
            start += size
        return None

    def _sliced(self, node: ir.Node, data: Array) -> Array | None:
        given = [self.ground.numbers(v) for v in node.inputs[1:] if v is not None]
        if len(given) < 2 or any(n is None for n in given):
            return None
        starts, ends, *more = ([int(i) for i in n.reshape(-1)] for n in given if n is not None)
        axes = more[0] if more else list(range(len(starts)))
        steps = more[1] if len(more) > 1 else [1] * len(starts)
        parts = [slice(None)] * data.ndim
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            parts[axis] = slice(start, end, step)
        return data[tuple(parts)]

    def _gathered(self, node: ir.Node) -> Array | None:
        """Rows of a table at indices that nobody knows: columns of the table that are one are one there too."""
        index, axis = self.ground.numbers(node.inputs[1]), integer(node, "axis", 0)
        if node.inputs[0] is None or (self.ground.shape(node.inputs[0]) is None):
            return None
        if index is not None:
            return np.take(self(node.inputs[0]), index.astype(np.int64), axis=axis)
        tensor, shape = constant_tensor(node.inputs[0]), self.ground.shape(node.outputs[0])
        if tensor is None or shape is None or len(tensor.shape) != 2 or axis or tensor.size > MOST:
            return None
        _, which = np.unique(tensor.numpy(), axis=1, return_inverse=True)
        return self.random.random((*shape[:-1], int(which.max()) + 1))[..., which.reshape(-1)]

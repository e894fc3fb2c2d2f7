"""Which masks are computed alike, so that those of 28 layers, each written out, are read once."""

from __future__ import annotations

import hashlib

import onnx_ir as ir

from onnxfix.nouns.types.operators import bodies
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.shapes.product_operations import Shape

from .computed.cone import Cone
from .computed.grid import Grid

_LONG = 200
_LARGEST = 1 << 25
"""Bytes of a constant whose content is compared; larger ones are alike where they are the same."""


class Alike:
    """Numbers that are equal where two cones compute the same. Of one graph, which must not change meanwhile."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._numbers: dict[object, int] = {}
        self._contents: dict[ir.Value, object] = {}

    def key(self, part: Cone) -> int:
        """The number of a cone."""
        known: dict[ir.Value, int] = {}
        for value in part.sources:
            known[value] = self._number(("source", value))
        for value in part.constants:
            known[value] = self._number(("constant", self._content(value)))
        for value in part.leaves:
            known[value] = self._number(("leaf", value.dtype, *self._shapes(value)))
        for node in part.sized:
            source = node.inputs[0]
            known[node.outputs[0]] = self._number((*_of_node(node), *self._shapes(source)))
        for node in part.nodes:
            inputs = tuple(None if value is None else known[value] for value in node.inputs)
            number = self._number((*_of_node(node), inputs))
            for index, value in enumerate(node.outputs):
                known[value] = self._number((number, index))
        return known[part.target]

    def _shapes(self, value: ir.Value | None) -> tuple[Shape | None, ...]:
        """At points that tell how a shape grows, lengths among them that a stored mask allows."""
        points = [point for point in self._grid.base if point.length < _LONG]
        return tuple(self._grid.shape(value, point) for point in points) if value is not None else ()

    def _number(self, what: object) -> int:
        return self._numbers.setdefault(what, len(self._numbers))

    def _content(self, value: ir.Value) -> object:
        tensor = constant_tensor(value)
        if tensor is None or tensor.nbytes > _LARGEST:
            return value
        if value not in self._contents:
            digest = hashlib.sha256(tensor.tobytes()).digest()
            self._contents[value] = (tensor.dtype, tuple(tensor.shape.numpy()), digest)
        return self._contents[value]


def _of_node(node: ir.Node) -> tuple[object, ...]:
    """All but its inputs; a node with a body is like no other."""
    if bodies(node):
        return (node,)
    attributes = sorted(
        (a.name, ir.to_proto(a).SerializeToString(deterministic=True)) for a in node.attributes.values()
    )
    return node.domain, node.op_type, node.overload, tuple(attributes), len(node.outputs)

"""The casts that ONNX Runtime puts around float16 nodes which only the CPU's float32 kernel can run.

Source: InsertCastTransformer of ONNX Runtime (insert_cast_transformer.cc). The casts run on the CPU and do not appear
among the placed nodes; they decide under which name a value is copied.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxfix.diagnose.placement.lookup import Lookup
from onnxfix.diagnose.placement.region import PlannedNode, Region, sorted_nodes

# ONNX Runtime's name for them; it takes such casts for free of loss when it looks for duplicates.
PREFIX = "InsertedPrecisionFreeCast_"

_HALF, _SINGLE = "tensor(float16)", "tensor(float)"


def insert_casts(region: Region, lookup: Lookup) -> None:
    """Put casts around every widened node of a region and those inside it."""
    for inner in region.walk():
        widened = [node for node in inner.nodes if node.widened]
        casts = _Casts(lookup)
        for node in widened:
            casts.around(node)
        if widened:
            inner.nodes = sorted_nodes([*inner.nodes, *casts.made])


class _Casts:
    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        self.made: list[PlannedNode] = []
        self.single: dict[ir.Value, ir.Value] = {}  # one cast a value, shared by the widened nodes that read it

    def around(self, node: PlannedNode) -> None:
        node.inputs = tuple(self._read(node, value) for value in node.inputs)
        node.outputs = tuple(self._written(node))

    def _read(self, node: PlannedNode, value: ir.Value | None) -> ir.Value | None:
        if value is None or self.lookup.type_of(value) != _HALF:
            return value
        if value not in self.single:
            self.single[value] = self._cast_of(value)
            self._add(node, value, self.single[value])
        return self.single[value]

    def _written(self, node: PlannedNode) -> Iterator[ir.Value]:
        for value in node.outputs:
            if not value.name or self.lookup.type_of(value) != _HALF:
                yield value
                continue
            single = self._cast_of(value)
            self._add(node, single, value)
            yield single

    def _cast_of(self, value: ir.Value) -> ir.Value:
        made = ir.Value(name=f"{PREFIX}{value.name}", shape=value.shape)
        self.lookup.types.of[made] = _SINGLE
        return made

    def _add(self, node: PlannedNode, source: ir.Value, result: ir.Value) -> None:
        name = f"{PREFIX}{result.name}"
        cast = PlannedNode(name, "Cast", "", (source,), (result,), {}, node.order, provider=node.provider)
        cast.reason, cast.root, cast.inserted_for = node.reason, node, node
        self.made.append(cast)

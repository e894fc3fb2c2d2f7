"""The tensors that a model stores, in initializers and in Constant nodes, each once, and who reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import graphs
from onnxfix.surgery.sites.constants import constant_attribute_tensor

LEAST = 16
"""Elements from which on a tensor is listed as a weight: what is smaller are shapes, axes and scalars of the graph."""


@dataclass(frozen=True, eq=False)
class Stored:
    """One tensor. `values` are all values of the graph that hold it: several where functions were inlined."""

    name: str
    tensor: ir.TensorProtocol
    values: tuple[ir.Value, ...] = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape.numpy())

    @property
    def dtype(self) -> ir.DataType:
        return self.tensor.dtype

    @property
    def is_weight(self) -> bool:
        return self.tensor.size >= LEAST

    @property
    def is_read(self) -> bool:
        return any(value.uses() or value.is_graph_output() for value in self.values)


def stored(model: Model) -> list[Stored]:
    """All tensors of a model in graph order, those of bodies included."""
    found: dict[int, tuple[str, ir.TensorProtocol, list[ir.Value]]] = {}
    for name, tensor, value in _all(model):
        found.setdefault(id(tensor), (name, tensor, []))[2].append(value)
    return [Stored(name, tensor, tuple(values)) for name, tensor, values in found.values()]


def _all(model: Model) -> Iterator[tuple[str, ir.TensorProtocol, ir.Value]]:
    for graph in graphs(model.graph):
        for name, value in graph.initializers.items():
            if value.const_value is not None:
                yield name, value.const_value, value
        for node in graph:
            if node.op_type == "Constant" and len(node.outputs) == 1:
                tensor = constant_attribute_tensor(node)
                if tensor is not None:
                    yield node.outputs[0].name or "", tensor, node.outputs[0]

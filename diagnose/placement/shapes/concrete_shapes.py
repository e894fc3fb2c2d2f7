"""Shapes of values at a stated batch and sequence length, as the file states them or ONNX's own inference finds them.

Symbols are bound at the graph inputs: one whose name says batch or sequence by that, others by position, the first axis
being the batch. Exporters record shapes in those symbols and sums and products of them ("2*s77"), which helps where
inference knows no rule, as for contributed operators.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import onnx_ir as ir

from onnxfix.nouns.plan import Sizes
from onnxfix.nouns.types import onnx_shapes
from onnxfix.nouns.types.opening import plain
from onnxfix.nouns.types.operators import proto_graphs
from onnxfix.surgery.sites.sizes.expressions import evaluate

Shape = tuple[int, ...]


def inferred_shapes(model: ir.Model, sizes: Sizes, recorded: Mapping[str, ir.Shape]) -> dict[str, Shape]:
    """Shape by value name, of a graph whose inputs have these sizes; values whose shape nothing tells are left out.

    `recorded`: what the file says, by name.
    """
    symbols = _symbols(model.graph, sizes)
    names = Counter(v.name for v in _values(model))
    repeated = {name for name, count in names.items() if name and count > 1}
    stated = stated_shapes(model.graph, sizes, recorded)
    for value in _values(model):
        known = evaluated(value.shape, symbols) if value.shape is not None else None
        if known is not None and value.name:
            stated[value.name] = known
    inferred = _inferred(_fixed(plain.to_proto(model), stated, sizes))
    return {**{n: s for n, s in stated.items() if n not in repeated}, **inferred}


def inferred_fed(model: ir.Model, fed: Mapping[str, Shape]) -> dict[str, Shape]:
    """What onnx's inference makes of a graph whose inputs have these shapes, by name; nothing that the file states."""
    proto = plain.to_proto(model)
    for info in proto.graph.input:
        if info.name in fed:
            _restate(info.type.tensor_type, fed[info.name])
    for info in (*proto.graph.value_info, *proto.graph.output):
        if info.type.HasField("tensor_type"):
            info.type.tensor_type.ClearField("shape")
    return _inferred(proto)


def stated_shapes(graph: ir.Graph, sizes: Sizes, recorded: Mapping[str, ir.Shape]) -> dict[str, Shape]:
    """What the file says, with numbers for its symbols, by name."""
    symbols = _symbols(graph, sizes)
    return {name: known for name, shape in recorded.items() if (known := evaluated(shape, symbols)) is not None}


def size_of(dimension: int | ir.SymbolicDim, axis: int, sizes: Sizes) -> int:
    """An axis of a graph input."""
    return dimension if isinstance(dimension, int) else _size(dimension.value or "", axis, sizes)


def _symbols(graph: ir.Graph, sizes: Sizes) -> dict[str, int]:
    found: dict[str, int] = {}
    for value in graph.inputs:
        for axis, dimension in enumerate(value.shape or ()):
            symbol = dimension.value if isinstance(dimension, ir.SymbolicDim) else None
            if symbol:
                found.setdefault(symbol, _size(symbol, axis, sizes))
    return found


def _size(symbol: str, axis: int, sizes: Sizes) -> int:
    if "batch" in symbol.lower():
        return sizes.batch
    if "seq" in symbol.lower() or "len" in symbol.lower():
        return sizes.sequence
    return sizes.batch if axis == 0 else sizes.sequence


def evaluated(shape: ir.Shape, symbols: Mapping[str, int]) -> Shape | None:
    """A shape with numbers for its symbols; None where one of them is not known."""
    sizes = [d if isinstance(d, int) else evaluate(d.value, symbols) for d in shape]
    return None if any(s is None for s in sizes) else tuple(s for s in sizes if s is not None)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for node in model.graph.all_nodes():
        yield from node.outputs


def _fixed(proto: Any, stated: Mapping[str, Shape], sizes: Sizes) -> Any:
    """The protobuf with sizes for its inputs, and with other shapes known or not stated at all."""
    known = {v.name for v in proto.graph.initializer}
    for info in proto.graph.input:
        for axis, dimension in enumerate(info.type.tensor_type.shape.dim):
            if not dimension.HasField("dim_value") and info.name not in known:
                dimension.dim_value = _size(dimension.dim_param, axis, sizes)
    for info in (*proto.graph.value_info, *proto.graph.output):
        if info.type.HasField("tensor_type") and info.name not in known:
            _restate(info.type.tensor_type, stated.get(info.name))
    return proto


def _restate(tensor: Any, shape: Shape | None) -> None:
    tensor.ClearField("shape")
    for size in shape or ():
        tensor.shape.dim.add().dim_value = size
    if shape == ():
        tensor.shape.SetInParent()


def _inferred(proto: Any) -> dict[str, Shape]:
    try:
        done = onnx_shapes.infer(proto)
    except Exception:  # onnx raises several types for graphs that it cannot infer; what is recorded must do then
        return {}
    found: dict[str, Shape] = {}
    different: set[str] = set()  # branches may use one name for two values
    for graph in proto_graphs(done.graph):
        for info in (*graph.input, *graph.output, *graph.value_info):
            shape = info.type.tensor_type.shape if info.type.tensor_type.HasField("shape") else None
            if shape is not None and all(d.HasField("dim_value") for d in shape.dim):
                known = tuple(d.dim_value for d in shape.dim)
                if found.setdefault(info.name, known) != known:
                    different.add(info.name)
    return {name: shape for name, shape in found.items() if name not in different}

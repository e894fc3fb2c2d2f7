"""A model as a graph of onnx_graphsurgeon and back: what its import drops is carried across, weights stay on disk.

The library reads names, types, attributes and tensors, and drops metadata, doc strings, rare attributes and what
nothing refers to. So a graph is written twice, as it was imported and as it came back: what both say alike is taken
from the source, the rest from what came back. Weights pass as numbers; they are read when somebody looks at their
values, and one that was only looked at is still the source's.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnx_ir as ir
from onnx_graphsurgeon.ir.tensor import LazyValues
from onnx_graphsurgeon.logger import G_LOGGER

from onnxfix.nouns.model import Model, forget_undeclared
from onnxfix.nouns.types.opening import plain
from onnxfix.nouns.weights import weight_data

_WEIGHT = "\0weight"
"""Location that marks a tensor of `Exchange.weights`; its offset is the place in that list."""


def quiet() -> contextlib.AbstractContextManager[None]:
    """Without the library's own log, which is printed."""
    found: contextlib.AbstractContextManager[None] = G_LOGGER.suppress(G_LOGGER.CRITICAL + 1)
    return found


class Exchange:
    """One model on its way through onnx_graphsurgeon: `graph` is what a function may change."""

    def __init__(self, model: Model) -> None:
        self.weights: list[ir.TensorProtocol] = []
        self.read: dict[int, tuple[np.ndarray[Any, Any], int]] = {}
        self._source = self._skeleton(model)
        with quiet():
            self._before = _written(gs.import_onnx(_copy(self._source)))
            self.graph = gs.import_onnx(_copy(self._source))
            self._places: dict[str, int] = {}
            for constant in _constants(self.graph):
                index = _index(constant._values.tensor) if isinstance(constant._values, LazyValues) else None
                if index is not None:
                    constant._values = _Weight(self, index)
                    self._places[constant.name] = index

    def result(self, graph: Any) -> ir.Model | None:
        """The model that a graph stands for, None when it is the source as it was. Raises whatever the libraries raise
        on a graph that is none."""
        with quiet():
            for constant in _constants(graph):
                constant._values = self._sealed(constant)
            after = _written(graph)
        merged = _copy(self._source)
        merged.graph.CopyFrom(_merged(self._source.graph, self._before.graph, after.graph))
        _replace(merged.functions, _functions(self._source, self._before, after))
        _replace(merged.opset_import, after.opset_import)
        merged.ir_version = after.ir_version
        if merged == self._source:
            return None
        model: ir.Model = plain.from_proto(merged)
        forget_undeclared(model, merged)
        for holder, name, tensor in _slots(model):
            if isinstance(tensor, ir.ExternalTensor) and tensor.location == _WEIGHT:
                _put(holder, name, self.weights[tensor.offset or 0])
        return model

    def _skeleton(self, model: Model) -> Any:
        """The protobuf of a model with a reference in place of every tensor but those of strings."""
        copy = model.clone().ir
        for holder, name, tensor in list(_slots(copy)):
            if tensor.dtype != ir.DataType.STRING:
                _put(holder, name, self._reference(tensor, name))
        return plain.to_proto(copy)

    def _reference(self, tensor: ir.TensorProtocol, name: str) -> ir.ExternalTensor:
        self.weights.append(tensor)
        shape = ir.Shape(list(tensor.shape.numpy()))
        return ir.ExternalTensor(_WEIGHT, len(self.weights) - 1, tensor.nbytes, tensor.dtype, shape=shape, name=name)

    def _sealed(self, constant: Any) -> Any:
        """The values of a constant as the exporter should write them: a reference of its own, also for new ones."""
        values = constant._values
        if isinstance(values, _Weight):
            return _Weight(self, values.index)  # copies of a constant share their values, and so the name in them
        if not isinstance(values, np.ndarray) or constant.export_dtype != constant.dtype:
            return values
        if values.dtype.kind in "OSU":
            return LazyValues(onnx.numpy_helper.from_array(values.astype(object), constant.name))
        index = self.read[id(values)][1] if id(values) in self.read else self._places.get(constant.name)
        if index is None or not _same(values, self.weights[index]):
            self.weights.append(ir.Tensor(values, name=constant.name))
            index = len(self.weights) - 1
        return _Weight(self, index)


class _Weight(LazyValues):  # type: ignore[misc]
    """Values that lie in `Exchange.weights`, read from there and not by the library, which looks in the working folder
    for external data."""

    def __init__(self, exchange: Exchange, index: int) -> None:
        self.exchange, self.index = exchange, index
        tensor = exchange.weights[index]
        entries = {"location": _WEIGHT, "offset": str(index), "length": str(tensor.nbytes)}
        proto = onnx.TensorProto(data_type=int(tensor.dtype), dims=list(tensor.shape.numpy()), data_location=1)
        proto.external_data.extend(onnx.StringStringEntryProto(key=k, value=v) for k, v in entries.items())
        super().__init__(proto)
        self.shape = list(tensor.shape.numpy())

    def load(self) -> np.ndarray[Any, Any]:
        values = np.array(weight_data.array(self.exchange.weights[self.index]))
        self.exchange.read[id(values)] = values, self.index
        return values


def _same(values: np.ndarray[Any, Any], tensor: ir.TensorProtocol) -> bool:
    if list(values.shape) != list(tensor.shape.numpy()) or values.dtype != tensor.dtype.numpy():
        return False
    return values.tobytes() == weight_data.array(tensor).tobytes()


def _copy(proto: Any) -> Any:
    copy = type(proto)()
    copy.CopyFrom(proto)
    return copy


def _replace(field: Any, entries: Iterable[Any]) -> None:
    kept = list(entries)
    del field[:]
    field.extend(kept)


def _written(graph: Any) -> Any:
    return gs.export_onnx(graph, do_type_check=False)  # files with undeclared outputs load and run


def _index(tensor: Any) -> int | None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return int(entries["offset"]) if entries.get("location") == _WEIGHT else None


def _constants(graph: Any) -> Iterator[Any]:
    """Every constant of a graph, its bodies and functions, and in attributes of nodes; each once."""
    seen: set[int] = set()
    for root in (graph, *graph.functions):
        for inner in (root, *root.subgraphs(recursive=True)):
            attributes = (value for node in inner.nodes for value in node.attrs.values())
            for tensor in (*inner.tensors().values(), *attributes):
                if isinstance(tensor, gs.Constant) and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield tensor


def _slots(model: ir.Model) -> Iterator[tuple[ir.Value | ir.Node, str, ir.TensorProtocol]]:
    """Where tensors stand: (initializer, its name, tensor) and (node, name of the attribute, tensor)."""
    for root in (model.graph, *(f.graph for f in model.functions.values())):
        for graph in (root, *(g for g in root.subgraphs() if g is not root)):
            for value in graph.initializers.values():
                if value.const_value is not None:
                    yield value, value.name or "", value.const_value
        for node in root.all_nodes():
            for name, attribute in list(node.attributes.items()):
                if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                    yield node, name, attribute.value


def _put(holder: ir.Value | ir.Node, name: str, tensor: ir.TensorProtocol) -> None:
    if isinstance(holder, ir.Value):
        holder.const_value = tensor
    else:
        holder.attributes[name] = ir.AttrTensor(name, tensor)


def _merged(source: Any, before: Any, after: Any) -> Any:
    """A graph as it came back, with all that the library dropped on the way from `source` to `before`."""
    made = _copy(after)
    _replace(made.metadata_props, source.metadata_props)
    origin = _Origins(source, before)
    for node in made.node:
        origin.carry_to(node)
    _replace(made.initializer, _initializers(source, before, after))
    weights = {tensor.name for tensor in made.initializer}
    alive = weights | {name for node in made.node for name in node.output}
    for field in ("input", "output", "value_info"):
        _declare(getattr(made, field), getattr(source, field), getattr(before, field))
    told = {entry.name for entry in before.input}
    made.input.extend(e for e in source.input if e.name not in told and e.name in weights)
    told = {entry.name for field in (before.value_info, made.value_info) for entry in field}
    made.value_info.extend(e for e in source.value_info if e.name not in told and e.name in alive)
    made.quantization_annotation.extend(a for a in source.quantization_annotation if a.tensor_name in alive)
    return made


def _initializers(source: Any, before: Any, after: Any) -> Iterator[Any]:
    """In the source's order, then the new ones; one that nothing read before is still there."""
    returned = {tensor.name: tensor for tensor in after.initializer}
    imported = {tensor.name: tensor for tensor in before.initializer}
    for tensor in source.initializer:
        found = returned.pop(tensor.name, None)
        was = imported.get(tensor.name)
        if found is None and was is None:
            yield tensor
        elif found is not None:
            yield tensor if was is not None and _alike(found, was) else found
    yield from returned.values()


def _alike(one: Any, other: Any) -> bool:
    return one == other or (_index(one) is not None and _index(one) == _index(other))


def _declare(made: Any, source: Any, before: Any) -> None:
    told = {entry.name: entry for entry in source}
    was = {entry.name: entry for entry in before}
    for entry in made:
        if entry.name in told and entry == was.get(entry.name):
            entry.CopyFrom(told[entry.name])


class _Origins:
    """What each node of a graph was before: by its name, or else by its first output, which it may have taken over."""

    def __init__(self, source: Any, before: Any) -> None:
        pairs = list(zip(source.node, before.node, strict=True))
        names = Counter(node.name for node in source.node)
        self._by_name = {old.name: (old, was) for old, was in pairs if old.name and names[old.name] == 1}
        self._by_output = {old.output[0]: (old, was) for old, was in pairs if old.output and old.output[0]}

    def carry_to(self, node: Any) -> None:
        """Give a node what the library dropped of its origin: all of it where it is the same node, metadata else."""
        output = next((name for name in node.output if name in self._by_output), "")
        old, was = self._by_name.get(node.name) or self._by_output.get(output) or (None, None)
        if old is None:
            return
        if node == was:
            node.CopyFrom(old)
            return
        node.metadata_props.extend(old.metadata_props)
        node.name = node.name or f"{old.name}_{node.op_type}"  # legacy exports have the torch scope in the name
        if node.op_type == old.op_type and node.domain == old.domain:
            node.doc_string, node.overload = old.doc_string, old.overload
            _carry_attributes(node, old, was)


def _carry_attributes(node: Any, old: Any, was: Any) -> None:
    told = {attribute.name: attribute for attribute in old.attribute}
    imported = {attribute.name: attribute for attribute in was.attribute}
    for attribute in node.attribute:
        known = imported.get(attribute.name)
        if attribute == known:
            attribute.CopyFrom(told[attribute.name])
        elif known is not None and attribute.HasField("g") and known.HasField("g"):
            attribute.g.CopyFrom(_merged(told[attribute.name].g, known.g, attribute.g))
    node.attribute.extend(a for name, a in told.items() if name not in imported)


def _functions(source: Any, before: Any, after: Any) -> Iterator[Any]:
    """Those that came back as they went are the source's, with their metadata and value_info."""
    told, was, now = (_by_identity(proto.functions) for proto in (source, before, after))
    for key, functions in now.items():
        yield from told[key] if functions == was.get(key) else functions


def _by_identity(functions: Any) -> dict[tuple[str, str], list[Any]]:
    found: dict[tuple[str, str], list[Any]] = {}
    for function in functions:
        found.setdefault((function.domain, function.name), []).append(function)
    return found

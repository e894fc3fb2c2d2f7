"""Forms that are valid and that nothing behind the opening knows, made plain, as ONNX Runtime makes them on loading.

Dimensions below 0 become unknown ones, sparse constants and weights dense ones. Types that onnx-ir has no class for
(maps) and bytes of attributes that are no text are kept aside with the values they belong to, and written back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx_ir as ir

from .sparse import dense
from .types import is_foreign, without_negative_dims

TYPE = "onnxfix.type"
"""Where a value keeps its serialized TypeProto when onnx-ir has no class for it."""
_MARK = "\0bytes:"
_TENSOR, _SPARSE_TENSOR = 4, 11  # onnx.proto, AttributeType


class Bytes(str):
    """The text of bytes that are no text; written back, it is these bytes."""

    held: bytes

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return self.held


def make_plain(model: Any) -> dict[str, bytes]:
    """Change a ModelProto. The types that were taken out of it, by the names of the main graph's values."""
    kept = {
        info.name: info.type.SerializeToString()
        for info in (*model.graph.input, *model.graph.output)
        if is_foreign(info.type)
    }
    for function in model.functions:
        _declared(function.value_info)
        _nodes(function.node)
    _graph(model.graph)
    return kept


def give_back(model: ir.Model, kept: dict[str, bytes]) -> None:
    """Put aside what `make_plain` took out, with the values, and bytes with their attributes."""
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.name in kept:
            value.meta[TYPE] = kept[value.name]
    for root in (model.graph, *(function.graph for function in model.functions.values())):
        for node in root.all_nodes():
            for name, given in list(node.attributes.items()):
                if given.type == ir.AttributeType.STRING and not given.is_ref():
                    if str(given.value).startswith(_MARK):
                        node.attributes[name] = ir.AttrString(name, _bytes(given.value))
                elif given.type == ir.AttributeType.STRINGS and not given.is_ref():
                    texts = [_bytes(each) if each.startswith(_MARK) else each for each in given.value]
                    if any(isinstance(each, Bytes) for each in texts):
                        node.attributes[name] = ir.AttrStrings(name, texts)


def from_proto(proto: Any) -> ir.Model:
    """The model of a ModelProto without faults, which is changed."""
    kept = make_plain(proto)
    model: ir.Model = ir.from_proto(proto)
    give_back(model, kept)
    return model


def to_proto(model: ir.Model) -> Any:
    """A ModelProto, with the types that were kept aside."""
    proto = ir.to_proto(model)
    for values, infos in ((model.graph.inputs, proto.graph.input), (model.graph.outputs, proto.graph.output)):
        for value, info in zip(values, infos, strict=True):
            if TYPE in value.meta:
                info.type.ParseFromString(value.meta[TYPE])
    return proto


def is_other(value: ir.Value) -> bool:
    """Whether a value has a type that onnx-ir has no class for."""
    return TYPE in value.meta


def _graph(graph: Any) -> None:
    for infos in (graph.input, graph.output, graph.value_info):
        _declared(infos)
    _hand_on(graph)
    for sparse in graph.sparse_initializer:
        tensor = graph.initializer.add()
        tensor.CopyFrom(dense(sparse))
        tensor.name = sparse.values.name
    del graph.sparse_initializer[:]
    _nodes(graph.node)


def _hand_on(graph: Any) -> None:
    """An input that is an output as well has one declaration in onnx-ir, the last: that of the input counts, which
    exporters leave out of the output."""
    inputs = {info.name: info.type for info in graph.input if info.type.tensor_type.HasField("shape")}
    for info in graph.output:
        if info.name in inputs:
            info.type.CopyFrom(inputs[info.name])


def _declared(infos: Any) -> None:
    for info in infos:
        without_negative_dims(info.type)
        if is_foreign(info.type):
            info.ClearField("type")


def _nodes(nodes: Any) -> None:
    for node in nodes:
        if not all(map(_is_whole, node.device_configurations)):
            node.ClearField("device_configurations")  # hints, of which onnx-ir writes whole ones only
        for given in node.attribute:
            if given.ref_attr_name:
                continue
            if given.type == _SPARSE_TENSOR:
                tensor = dense(given.sparse_tensor)
                given.ClearField("sparse_tensor")
                given.name, given.type = "value", _TENSOR
                given.t.CopyFrom(tensor)
            if given.HasField("s"):
                given.s = _text(given.s)
            if given.strings:
                given.strings[:] = list(map(_text, given.strings))
            for body in _bodies(given):
                _graph(body)


def _is_whole(configuration: Any) -> bool:
    return bool(configuration.configuration_id) and all(each.tensor_name for each in configuration.sharding_spec)


def _bodies(given: Any) -> Iterator[Any]:
    yield from (given.g, *given.graphs) if given.HasField("g") else given.graphs


def _text(content: bytes) -> bytes:
    try:
        content.decode()
    except UnicodeDecodeError:
        return (_MARK + content.hex()).encode()
    return content


def _bytes(marked: str) -> Bytes:
    held = bytes.fromhex(marked.removeprefix(_MARK))
    made = Bytes(held.decode("latin-1"))
    made.held = held
    return made

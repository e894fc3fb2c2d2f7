"""Mutations of serialized models, from a seed: of their structure, field by field, and of their bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import onnx
from google.protobuf.message import DecodeError

STRINGS = ("", "x", "y", "nothing", "no/such", "\x1b[31mred", "::error ::said", "é" * 9, "ai.onnx", "Loop", "If", "..")
INTEGERS = (0, 1, -1, 2, 3, 7, 16, 99, 1000, -(2**31), 2**31 - 1, 2**40, -(2**63), 2**63 - 1)
FLOATS = (0.0, -1.0, 1e-30, 3e38, float("nan"), float("inf"))
ENTRIES = ("location", "offset", "length", "checksum", "location")
VALUES = ("-1", "12x", "", "99999999999999999999", "../up", "/etc/passwd", "here.bin", "0", "4")
MOST = 4
"""Mutations of one input."""

Mutation = Callable[[random.Random, onnx.ModelProto], None]


def mutated(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """The bytes of a model after one to four mutations."""
    if rng.random() < 0.2:
        return _bytes(data, rng, others)
    model = onnx.load_model_from_string(data)
    for _ in range(rng.randint(1, MOST)):
        rng.choices([m for m, _ in STRUCTURE], [weight for _, weight in STRUCTURE])[0](rng, model)
    made: bytes = model.SerializeToString()
    return _bytes(made, rng, others) if rng.random() < 0.05 else made


def parses(data: bytes) -> bool:
    """Whether the bytes are a model at all, with a graph."""
    try:
        return bool(onnx.load_model_from_string(data).HasField("graph"))
    except (DecodeError, ValueError):
        return False


def _bytes(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Flipped bits, a cut, a piece twice, or a piece of another model."""
    held, kind = bytearray(data), rng.random()
    if kind < 0.5:
        for _ in range(rng.choice((1, 1, 2, 8))):
            held[rng.randrange(len(held))] ^= 1 << rng.randrange(8)
    elif kind < 0.65:
        del held[rng.randrange(len(held)) :]
    elif kind < 0.8:
        at, length = rng.randrange(len(held)), rng.randint(1, 40)
        held[at:at] = held[at : at + length]
    else:
        other, at, length = rng.choice(others), rng.randrange(len(held)), rng.randint(1, 200)
        start = rng.randrange(len(other))
        held[at : at + length] = other[start : start + length]
    return bytes(held)


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in value if field.is_repeated else (value,):
                yield from _messages(inner)


def _nodes(model: onnx.ModelProto) -> list[Any]:
    return [m for m in _messages(model) if isinstance(m, onnx.NodeProto)]


def _any_field(rng: random.Random, model: onnx.ModelProto) -> None:
    """Any field of any message: removed, set to another value, one more, one less, or in another order."""
    message = rng.choice(list(_messages(model)))
    field = rng.choice(message.DESCRIPTOR.fields)
    if field.is_repeated:
        _repeated(rng, message, field)
    elif rng.random() < 0.3:
        message.ClearField(field.name)
    elif field.type != field.TYPE_MESSAGE:
        setattr(message, field.name, _scalar(rng, field))
    else:
        getattr(message, field.name).SetInParent()


def _repeated(rng: random.Random, message: Any, field: Any) -> None:
    values, kind = getattr(message, field.name), rng.random()
    if not values or kind < 0.25:
        if field.type == field.TYPE_MESSAGE:
            added = values.add()
            if len(values) > 1 and rng.random() < 0.7:
                added.CopyFrom(rng.choice(values[:-1]))
        else:
            values.append(_scalar(rng, field))
    elif kind < 0.6:
        del values[rng.randrange(len(values))]
    elif kind < 0.7:
        del values[:]
    elif field.type != field.TYPE_MESSAGE:
        values[rng.randrange(len(values))] = _scalar(rng, field)
    else:
        order = list(values)
        rng.shuffle(order)
        copies = [type(each).FromString(each.SerializeToString()) for each in order]
        del values[:]
        values.extend(copies)


def _scalar(rng: random.Random, field: Any) -> Any:
    if field.type == field.TYPE_STRING:
        return rng.choice(STRINGS)
    if field.type == field.TYPE_BYTES:
        return rng.choice((b"", b"\xff\xfe", b"SAME_UPPER", b"linear", bytes(rng.randrange(256) for _ in range(8))))
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return rng.choice(FLOATS)
    if field.type == field.TYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    if field.type == field.TYPE_INT32:
        return rng.choice([i for i in INTEGERS if abs(i) < 2**31])
    return abs(rng.choice(INTEGERS)) % 2**63 if field.type == field.TYPE_UINT64 else rng.choice(INTEGERS)


def _fewer_or_other_inputs(rng: random.Random, model: onnx.ModelProto) -> None:
    nodes = [n for n in _nodes(model) if n.input]
    if not nodes:
        return
    node, names = rng.choice(nodes), [name for n in _nodes(model) for name in (*n.input, *n.output)]
    at = rng.randrange(len(node.input))
    if rng.random() < 0.5:
        del node.input[at:]
    else:
        node.input[at] = rng.choice((*names, "", "nothing"))


def _other_outputs(rng: random.Random, model: onnx.ModelProto) -> None:
    nodes = _nodes(model)
    if nodes:
        node, names = rng.choice(nodes), [name for n in nodes for name in n.output]
        if node.output and rng.random() < 0.6:
            node.output[rng.randrange(len(node.output))] = rng.choice((*names, ""))
        elif node.output and rng.random() < 0.5:
            del node.output[:]
        else:
            node.output.append(rng.choice((*names, "more")))


def _other_operator(rng: random.Random, model: onnx.ModelProto) -> None:
    nodes = _nodes(model)
    if nodes:
        node, other = rng.choice(nodes), rng.choice(nodes)
        node.op_type, node.domain = other.op_type, other.domain if rng.random() < 0.8 else rng.choice(STRINGS)


def _other_attribute(rng: random.Random, model: onnx.ModelProto) -> None:
    """A wrong type, no type, a value that is out of range, a reference to nothing, or none at all."""
    nodes = [n for n in _nodes(model) if n.attribute]
    if not nodes:
        return
    node = rng.choice(nodes)
    given, kind = rng.choice(node.attribute), rng.random()
    if kind < 0.3:
        given.type = rng.choice(onnx.AttributeProto.AttributeType.values())
    elif kind < 0.5:
        node.attribute.remove(given)
    elif kind < 0.6:
        given.ref_attr_name = rng.choice(("alpha", "nothing"))
    elif kind < 0.8:
        given.i = rng.choice(INTEGERS)
        given.ints[:] = [rng.choice(INTEGERS) for _ in given.ints]
    else:
        other = rng.choice(rng.choice(nodes).attribute)
        copy = onnx.AttributeProto.FromString(other.SerializeToString())  # it may lie within the one that it replaces
        copy.name = given.name if rng.random() < 0.5 else other.name
        given.CopyFrom(copy)


def _other_tensor(rng: random.Random, model: onnx.ModelProto) -> None:
    """Data that does not fit its shape, an unknown type, or a place in a file that is none."""
    tensors = [m for m in _messages(model) if isinstance(m, onnx.TensorProto)]
    if not tensors:
        return
    tensor, kind = rng.choice(tensors), rng.random()
    if kind < 0.3:
        tensor.dims[:] = [rng.choice((0, 1, 2, 3, 5, -1, 2**20, 2**40)) for _ in range(rng.randint(0, 4))]
    elif kind < 0.5:
        tensor.data_type = rng.choice((0, 1, 7, 8, 10, 16, 21, 22, 23, 27, 99, -1))
    elif kind < 0.7:
        tensor.raw_data = tensor.raw_data[: rng.randint(0, 9)]
    else:
        tensor.data_location = rng.choice((0, 1, 1))
        for _ in range(rng.randint(0, 3)):
            entry = tensor.external_data.add()
            entry.key, entry.value = rng.choice(ENTRIES), rng.choice(VALUES)


def _functions(rng: random.Random, model: onnx.ModelProto) -> None:
    """A node becomes a function, which may call itself, another one, or have another interface than its calls."""
    nodes = [n for n in _nodes(model) if n.op_type]
    if not nodes:
        return
    node = rng.choice(nodes)
    function = model.functions.add(name=f"F{len(model.functions)}", domain="fuzz")
    function.input.extend(f"a{i}" for i in range(rng.choice((len(node.input), len(node.input) + 1, 0))))
    function.output.extend(f"b{i}" for i in range(rng.choice((len(node.output), 1, 0))))
    inner = function.node.add()
    inner.CopyFrom(node)
    inner.input[:] = [f"a{i}" for i, _ in enumerate(node.input)]
    inner.output[:] = [f"b{i}" for i, _ in enumerate(node.output)]
    function.opset_import.extend(model.opset_import)
    if rng.random() < 0.3:
        inner.op_type, inner.domain = rng.choice(model.functions).name, "fuzz"
    if rng.random() < 0.2 and function.opset_import:
        rng.choice(function.opset_import).version = rng.choice((0, 1, 9, 13, 99))
    if rng.random() < 0.5:
        node.op_type, node.domain = function.name, "fuzz"
        if rng.random() < 0.7:
            del node.attribute[:]
    if rng.random() < 0.8:
        model.opset_import.add(domain="fuzz", version=1)


def _nesting(rng: random.Random, model: onnx.ModelProto) -> None:
    """The main graph, or a piece of it, as a body of one of its nodes, some times over."""
    if not model.graph.node:
        return
    for _ in range(rng.choice((1, 1, 2, 40))):
        if model.ByteSize() > 200_000:
            return
        body = onnx.GraphProto.FromString(model.graph.SerializeToString())
        node = rng.choice(model.graph.node)
        name = rng.choice(("body", "then_branch", "else_branch"))
        given = node.attribute.add(name=name, type=onnx.AttributeProto.GRAPH)
        given.g.CopyFrom(body)
        node.op_type = rng.choice((node.op_type, "If", "Loop", "Scan"))
        if rng.random() < 0.5:
            del given.g.input[:]


def _types(rng: random.Random, model: onnx.ModelProto) -> None:
    """Another declared type or shape."""
    found = [m for m in _messages(model) if isinstance(m, onnx.ValueInfoProto)]
    if not found:
        return
    info, kind = rng.choice(found), rng.random()
    if kind < 0.3:
        info.type.tensor_type.elem_type = rng.choice((0, 1, 7, 8, 9, 10, 16, 23, 50, -1))
    elif kind < 0.6:
        dim = info.type.tensor_type.shape.dim.add()
        dim.dim_value = rng.choice((-1, 0, 1, 5, 2**40, -(2**40)))
    elif kind < 0.7:
        info.type.map_type.key_type = rng.choice((7, 8, 0))
        info.type.map_type.value_type.tensor_type.elem_type = 1
    elif kind < 0.85:
        info.type.sequence_type.elem_type.tensor_type.elem_type = rng.choice((0, 1, 99))
    else:
        info.type.optional_type.SetInParent()


def _versions(rng: random.Random, model: onnx.ModelProto) -> None:
    if model.opset_import and rng.random() < 0.7:
        rng.choice(model.opset_import).version = rng.choice((-1, 0, 1, 6, 9, 11, 12, 13, 17, 21, 26, 28, 99, 2**40))
    else:
        model.ir_version = rng.choice((0, 1, 2, 3, 4, 7, 8, 10, 13, 14, 20, 2**40))


STRUCTURE: tuple[tuple[Mutation, float], ...] = (
    (_any_field, 6),
    (_fewer_or_other_inputs, 3),
    (_other_outputs, 2),
    (_other_operator, 2),
    (_other_attribute, 4),
    (_other_tensor, 3),
    (_functions, 2),
    (_nesting, 0.7),
    (_types, 2),
    (_versions, 1),
)

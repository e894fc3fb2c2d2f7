"""Read an ONNX file without its weights: large tensors stay in the file, mapped, and are read when somebody looks.

Parsing a 1.6 GB protobuf to look at its graph takes 2 s and 3.2 GB. The wire format (protobuf.dev, "Encoding") states
the length of every field, so this walks over large ones and hands the parser a message in which each large tensor is a
reference. Packed `float_data` and `double_data` hold the same little-endian bytes as `raw_data` and are left alike.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.operators import graphs

from . import weight_data

# Field numbers of onnx.proto: which fields of a message hold messages that can hold a tensor.
_NESTED: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
}
_RAW_DATA, _FLOAT_DATA, _DOUBLE_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 4, 10, 13, 14
_BYTES = 2  # the wire type of everything with a length

# Below this a tensor is cheaper to copy than to map.
LARGE_BYTES = 64 * 1024

_HERE = "\0here"
"""Location that marks a tensor left in the file; no path holds a zero byte."""


@dataclass(frozen=True)
class Mapped:
    """A file as a map, for a look at single weights, and open, for reading all of them without making them resident."""

    bytes: mmap.mmap
    file: weight_data.OpenFile


class MalformedError(ValueError):
    """The bytes are no protobuf message of this kind, or end before it does."""


def read(path: Path) -> tuple[bytes, Mapped | None]:
    """The serialised ModelProto with references in place of large tensors, and the map of the file they refer to, None
    without any.

    Raises MalformedError, and OSError or ValueError (empty file) when the file cannot be mapped.
    """
    file = weight_data.OpenFile(path)
    mapped = mmap.mmap(file.descriptor, 0, access=mmap.ACCESS_READ)
    # read, not mapped: touching one byte of a map can make 2 MB around it resident
    skeleton = b"".join(_trimmed(file.descriptor, "model", 0, len(mapped)))
    return skeleton, Mapped(mapped, file) if len(skeleton) < len(mapped) else None


def attach(model: ir.Model, mapped: Mapped) -> None:
    """Put tensors over the mapped file in place of the references, in initializers and attributes alike."""
    for root in (model.graph, *(f.graph for f in model.functions.values())):
        for graph in graphs(root):
            for value in graph.initializers.values():
                if _is_reference(value.const_value):
                    value.const_value = _tensor(value.const_value, mapped)
        for node in root.all_nodes():
            for name, attribute in list(node.attributes.items()):
                if attribute.type == ir.AttributeType.TENSOR and _is_reference(attribute.value):
                    node.attributes[name] = ir.AttrTensor(name, _tensor(attribute.value, mapped))
                elif attribute.type == ir.AttributeType.TENSORS and not attribute.is_ref():
                    found = [_tensor(t, mapped) if _is_reference(t) else t for t in attribute.value]
                    node.attributes[name] = ir.AttrTensors(name, found)


def _is_reference(tensor: Any) -> bool:
    return isinstance(tensor, ir.ExternalTensor) and tensor.location == _HERE


def _tensor(reference: Any, mapped: Mapped) -> ir.TensorProtocol:
    dtype: ir.DataType = reference.dtype
    stored = np.dtype(np.uint8) if dtype.itemsize < 1 else dtype.numpy()
    count = (reference.length or 0) // stored.itemsize
    array = np.frombuffer(mapped.bytes, dtype=stored, count=count, offset=reference.offset or 0)
    shape, name = reference.shape, reference.name
    if dtype.itemsize < 1:
        return ir.PackedTensor(array, dtype, shape=shape, name=name)
    if count != reference.size:
        raise MalformedError(f"tensor '{name}' of shape {list(shape.numpy())} holds {count} elements")
    made = ir.Tensor(array.reshape(shape.numpy()), dtype=dtype, name=name)
    return weight_data.keep_range(made, weight_data.FileRange(mapped.file, reference.offset or 0, made.nbytes))


def _trimmed(file: int, kind: str, start: int, end: int) -> Iterator[bytes]:
    """The message between two offsets, as pieces; a small one is passed on whole, without a look inside."""
    if end - start < LARGE_BYTES:
        yield os.pread(file, end - start, start)
        return
    if kind == "tensor":
        yield from _trimmed_tensor(file, start, end)
        return
    copied = start
    for number, field, first, last in _fields(file, start, end):
        inner = _NESTED[kind].get(number)
        if inner is None or last - first < LARGE_BYTES:
            continue
        yield os.pread(file, field - copied, copied)
        pieces = list(_trimmed(file, inner, first, last))
        yield header(number, sum(len(piece) for piece in pieces))
        yield from pieces
        copied = last
    yield os.pread(file, end - copied, copied)


def _trimmed_tensor(file: int, start: int, end: int) -> Iterator[bytes]:
    copied, reference = start, b""
    fields = list(_fields(file, start, end))
    if any(number == _EXTERNAL_DATA for number, *_ in fields):
        fields = []  # it says that its data is elsewhere: whatever else it holds, that stands
    for number, field, first, last in fields:
        if number in (_RAW_DATA, _FLOAT_DATA, _DOUBLE_DATA) and last - first >= LARGE_BYTES:
            yield os.pread(file, field - copied, copied)
            entries = (("location", _HERE), ("offset", str(first)), ("length", str(last - first)))
            reference = b"".join(
                _bytes(_EXTERNAL_DATA, _bytes(1, k.encode()) + _bytes(2, v.encode())) for k, v in entries
            )
            copied = last
    yield os.pread(file, end - copied, copied)
    if reference:
        # last, where it wins: onnx's own saving leaves a data_location of 0 behind
        yield reference + varint(_DATA_LOCATION << 3) + varint(1)


def _fields(file: int, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, offset of the field, of its content, behind it) of every field with a length."""
    at = start
    while at < end:
        field = at
        key, at = _read_varint(file, at, end)
        kind = key & 7
        if kind == _BYTES:
            length, at = _read_varint(file, at, end)
            if at + length > end:
                raise MalformedError(f"a field at byte {field} ends behind its message")
            yield key >> 3, field, at, at + length
            at += length
        elif kind == 0:
            _, at = _read_varint(file, at, end)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise MalformedError(f"wire type {kind} at byte {field}")
    if at != end:
        raise MalformedError(f"the message ends at byte {at} instead of {end}")


def _read_varint(file: int, at: int, end: int) -> tuple[int, int]:
    result = 0
    for index, byte in enumerate(os.pread(file, min(10, end - at), at)):
        result |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return result, at + index + 1
    raise MalformedError(f"no number ends at byte {at}")


def split(data: bytes) -> Iterator[tuple[int, bytes, bytes | None]]:
    """(field number, the whole field, its content where it has a length) of every field of a parsed message."""
    at = 0
    while at < len(data):
        start = at
        key, at = _varint_in(data, at)
        content, kind = None, key & 7
        if kind == _BYTES:
            length, at = _varint_in(data, at)
            content = data[at : at + length]
            at += length
        elif kind == 0:
            _, at = _varint_in(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise MalformedError(f"wire type {kind} at byte {start}")
        yield key >> 3, data[start:at], content


def _varint_in(data: bytes, at: int) -> tuple[int, int]:
    result = 0
    for index in range(10):
        byte = data[at + index]
        result |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return result, at + index + 1
    raise MalformedError(f"no number ends at byte {at}")


def varint(number: int) -> bytes:
    """An unsigned number in base 128, least significant group first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def header(number: int, length: int) -> bytes:
    """What stands in front of `length` bytes of field `number`."""
    return varint(number << 3 | _BYTES) + varint(length)


def _bytes(number: int, content: bytes) -> bytes:
    return header(number, len(content)) + content

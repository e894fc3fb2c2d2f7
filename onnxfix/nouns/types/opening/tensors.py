"""Tensors of a file: known types, shapes that exist, and data that fills them, inside the file or beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import onnx_ir as ir

LARGEST_BYTES = 1 << 46
"""No file holds more; beyond it sizes overflow."""
# onnx.proto, TensorProto: the field that a type's elements lie in, where not in raw_data.
_WIDE = {
    ir.DataType.FLOAT: "float_data",
    ir.DataType.COMPLEX64: "float_data",
    ir.DataType.DOUBLE: "double_data",
    ir.DataType.COMPLEX128: "double_data",
    ir.DataType.INT64: "int64_data",
    ir.DataType.UINT32: "uint64_data",
    ir.DataType.UINT64: "uint64_data",
    ir.DataType.STRING: "string_data",
}
_FIELDS = ("int32_data", *dict.fromkeys(_WIDE.values()))
_PAIRS = (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128)
_ENTRIES = ("offset", "length")


def known(number: int) -> bool:
    """Whether an element type's number stands for one."""
    return number != ir.DataType.UNDEFINED and number in ir.DataType._value2member_map_


def faults(tensor: Any) -> Iterator[str]:
    """What is wrong with a TensorProto, as clauses."""
    if not known(tensor.data_type):
        yield f"has elements of the unknown type {tensor.data_type}"
        return
    dims, dtype = list(tensor.dims), ir.DataType(tensor.data_type)
    if any(dim < 0 for dim in dims):
        yield f"has the shape {dims}"
        return
    count = math.prod(dims)
    if count > LARGEST_BYTES:
        yield f"has the shape {dims}, which no memory holds"
        return
    if tensor.HasField("segment"):
        yield "is a segment of one, which nobody reads"
        return
    outside = tensor.data_location == 1
    yield from _entries(tensor, dtype, count) if outside else _inside(tensor, dtype, count)


def needed_bytes(dtype: ir.DataType, count: int) -> int:
    """Of elements that may be packed, two or four in a byte."""
    return math.ceil(count * dtype.bitwidth / 8)


def _inside(tensor: Any, dtype: ir.DataType, count: int) -> Iterator[str]:
    if dtype == ir.DataType.STRING and tensor.raw_data:
        yield "holds strings as raw data, of which nobody knows where one ends"
        return
    if tensor.HasField("raw_data") and dtype != ir.DataType.STRING:
        held, needed = len(tensor.raw_data), needed_bytes(dtype, count)
        if held != needed:
            yield f"of shape {list(tensor.dims)} needs {needed:,} bytes and holds {held:,}"
        return
    own = _WIDE.get(dtype, "int32_data")
    held = len(getattr(tensor, own))
    if other := next((name for name in _FIELDS if name != own and len(getattr(tensor, name))), ""):
        yield f"of {dtype.name} holds {other}"
        return
    needed = count * 2 if dtype in _PAIRS else -(-count // _in_one(dtype))
    if dtype.name in ("FLOAT6E2M3", "FLOAT6E3M2") and not all(0 <= number < 64 for number in tensor.int32_data):
        yield "holds numbers that are no six bits"
    if held != needed:
        yield f"of shape {list(tensor.dims)} needs {needed:,} elements and holds {held:,}"


def _in_one(dtype: ir.DataType) -> int:
    """Elements in one of a field: of less than a byte as many as fill one."""
    return 1 if dtype == ir.DataType.STRING else max(8 // int(dtype.bitwidth), 1)


def _entries(tensor: Any, dtype: ir.DataType, count: int) -> Iterator[str]:
    """Of external data. That its file is there and long enough is asked of the disk, later."""
    found = {entry.key: entry.value for entry in tensor.external_data}
    if dtype == ir.DataType.STRING:
        yield "holds strings, which cannot lie in a data file"
        return
    if not found.get("location"):
        yield "lies in a data file without a name"
        return
    for key in _ENTRIES:
        value = found.get(key, "0")
        if not (value.isascii() and value.isdigit()) or int(value) > LARGEST_BYTES:
            yield f"lies in a data file with '{value}' as its {key}"
            return
    needed = needed_bytes(dtype, count)
    if "length" in found and int(found["length"]) != needed:
        # a tensor that was left in the file lies there as in a data file
        said = "and holds" if found["location"].startswith("\0") else "its entry says"
        yield f"of shape {list(tensor.dims)} needs {needed:,} bytes, {said} {int(found['length']):,}"

"""ONNX's own type strings, `tensor(float16)` or `seq(tensor(float))`, of declared types and back."""

from __future__ import annotations

import onnx_ir as ir

HALVES = ("tensor(float16)", "tensor(bfloat16)")
_STRINGS = {ir.DataType.FLOAT: "float", ir.DataType.DOUBLE: "double", ir.DataType.STRING: "string"}


def elem_string(dtype: ir.DataType) -> str:
    """`FLOAT16` → `tensor(float16)`; float and double are the two whose type strings are not their names."""
    return f"tensor({_STRINGS.get(dtype, dtype.name.lower())})"


def data_type(type_string: str) -> ir.DataType:
    """`tensor(float16)` → `DataType.FLOAT16`. Raises ValueError for anything that is not a dense tensor."""
    if not (type_string.startswith("tensor(") and type_string.endswith(")")):
        raise ValueError(f"{type_string} is not a tensor type")
    name = type_string[len("tensor(") : -1]
    return next((d for d, s in _STRINGS.items() if s == name), None) or ir.DataType[name.upper()]


def declared_type(value: ir.Value) -> str | None:
    """What the file says about a value: graph inputs and outputs, value_info, or its initializer."""
    if value.const_value is not None:
        return elem_string(value.const_value.dtype)
    return type_string(value.type)


def type_string(declared: ir.TypeProtocol | None) -> str | None:
    if isinstance(declared, ir.SequenceType):
        inner = type_string(declared.elem_type)
        return f"seq({inner})" if inner else None
    if isinstance(declared, ir.OptionalType):
        inner = type_string(declared.elem_type)
        return f"optional({inner})" if inner else None
    if isinstance(declared, ir.TensorType) and declared.dtype != ir.DataType.UNDEFINED:
        return elem_string(declared.dtype)
    return None

"""Declared types of a file: element types that there are, and sequences and optionals that are of something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .tensors import known

TENSORS = ("tensor_type", "sparse_tensor_type")


def fault(declared: Any) -> str:
    """What is wrong with a TypeProto, as a clause; empty when nothing is."""
    kind = declared.WhichOneof("value")
    if kind in TENSORS:
        number = getattr(declared, kind).elem_type
        # 0 says nothing about the type, which exporters do of inner values
        return "" if number == 0 or known(number) else f"is declared with the unknown type {number}"
    if kind in ("sequence_type", "optional_type"):
        inner = getattr(declared, kind).elem_type
        held = inner.WhichOneof("value")
        if held is None or (held in TENSORS and not getattr(inner, held).elem_type):
            return f"is declared as {kind.removesuffix('_type')} of nothing"
        return fault(inner)
    return ""


def is_foreign(declared: Any) -> bool:
    """Whether a type holds, at any depth, what onnx-ir has no class for: a map, or an opaque type."""
    kind = declared.WhichOneof("value")
    if kind in ("sequence_type", "optional_type"):
        return is_foreign(getattr(declared, kind).elem_type)
    return kind in ("map_type", "opaque_type")


def without_negative_dims(declared: Any) -> None:
    """Clear dimensions below 0, by which some converters mean dynamic ones, as ONNX Runtime does."""
    for tensor in _tensor_types(declared):
        for dim in tensor.shape.dim:
            if dim.HasField("dim_value") and dim.dim_value < 0:
                dim.ClearField("dim_value")


def _tensor_types(declared: Any) -> Iterator[Any]:
    kind = declared.WhichOneof("value")
    if kind in TENSORS:
        yield getattr(declared, kind)
    elif kind in ("sequence_type", "optional_type"):
        yield from _tensor_types(getattr(declared, kind).elem_type)

"""What an input of a text model is given: token ids, a mask, segments, positions."""

from __future__ import annotations

import onnx_ir as ir


def role(value: ir.Value) -> str:
    """`ids`, `mask`, `segment` or `position` by name and type, else empty."""
    name = (value.name or "").lower()
    integer = value.dtype is not None and value.dtype.is_integer()
    if "mask" in name:
        return "mask"
    if not integer:
        return ""
    if "token_type" in name or "segment" in name:
        return "segment"
    if "position" in name:
        return "position"
    return "ids" if name.endswith("ids") or "tokens" in name else ""

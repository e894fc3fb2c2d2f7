"""What an input of a text model is given: token ids, a mask, segments, positions."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir


def padding_mask(names: Iterable[str]) -> str:
    """Of inputs by name the one that says which tokens are padding, as it is fed and compared: `attention_mask`, else
    the first that is called a mask; empty where none is."""
    masks = [name for name in names if "mask" in name.lower()]
    return next((name for name in masks if name.lower() == "attention_mask"), masks[0] if masks else "")


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

"""What an input of a text model is given: token ids, a mask, segments, positions."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir


def padding_mask(names: Iterable[str]) -> str:
    """Of inputs by name the one that says which tokens are padding, as it is fed and compared: `attention_mask`, else
    the first that is called a mask; empty where none is."""
    masks = [name for name in names if _says_what_is_real(name)]
    return next((name for name in masks if name.lower() == "attention_mask"), masks[0] if masks else "")


def role(value: ir.Value) -> str:
    """`ids`, `mask`, `segment` or `position` by name and type, else empty."""
    name = (value.name or "").lower()
    integer = value.dtype is not None and value.dtype.is_integer()
    if _says_what_is_real(name):
        return "mask"
    if not integer:
        return ""
    if "token_type" in name or "segment" in name:
        return "segment"
    if "position" in name:
        return "position"
    return "ids" if name.endswith("ids") or "tokens" in name else ""


def _says_what_is_real(name: str) -> bool:
    """Whether a 1 is a token: of padding, or of what is masked, it may be as well what is none (torch's
    key_padding_mask, bool_masked_pos of image models), and nothing is known of such an input by its name."""
    name = name.lower()
    return "mask" in name and ("attention_mask" in name or not any(part in name for part in ("pad", "masked")))

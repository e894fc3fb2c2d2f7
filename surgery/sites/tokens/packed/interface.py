"""Packed inputs: a model that takes the tokens of a batch one behind the other, and is told where each row ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxfix.nouns.model import Model

TOKENS = "packed_tokens"
"""The axis of what is of tokens."""

ENDS = "cu_seqlens"
"""int32 [rows + 1]: how many tokens all rows before one have, as FlashAttention's interfaces call it."""

PLACES = "token_offset"
"""int32 [rows, length]: places in a batch that is one row, first those of tokens, then those of padding; as
com.microsoft's PackedMultiHeadAttention and RemovePadding have it."""

MASK = "onnxfix.packed_by"
"""The property of a model that says what the mask was called."""


@dataclass(frozen=True)
class PackedInterface:
    """`inputs` and `outputs`: names of those that are of tokens, [tokens, …]; all others are as they are of any model.
    `rows` and `length`: what the file calls the axes of a batch; `mask`: what the mask was called that they stand for;
    `axes`: names of the axes of all outputs."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rows: str
    length: str
    mask: str = "attention_mask"
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def find(model: Model) -> PackedInterface | None:
    """None for a model that takes batches of rows."""
    given = {str(value.name): value for value in model.graph.inputs}
    ends, places = given.pop(ENDS, None), given.pop(PLACES, None)
    if ends is None or places is None or len(ends.shape or ()) != 1 or len(places.shape or ()) != 2:
        return None
    rows, length = (_axis(places, at) for at in (0, 1))
    inputs = tuple(name for name, value in given.items() if _axis(value, 0) == TOKENS)
    if not inputs or not rows or not length:
        return None
    outputs = tuple(str(value.name) for value in model.graph.outputs if _axis(value, 0) == TOKENS)
    axes = {str(v.name): tuple(_axis(v, at) for at in range(len(v.shape or ()))) for v in model.graph.outputs}
    mask = model.ir.metadata_props.get(MASK, "attention_mask")
    return PackedInterface(inputs, outputs, rows, length, mask, axes)


def _axis(value: ir.Value, at: int) -> str:
    """The name of an axis that is free, else none."""
    size = value.shape[at] if value.shape is not None and len(value.shape) > at else None
    return str(size.value or "") if isinstance(size, ir.SymbolicDim) else ""

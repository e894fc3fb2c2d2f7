"""-inf in masks → a finite "never", so that a row that sees nothing makes no NaN for a whole activation's scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.half.mask_constants import constants, rewrite
from onnxfix.surgery.sites.constants import Array, constant_tensor, small_array

NEVER = -1e30
"""Two more masks and any score fit beside it in fp32, and its exponential is as much 0."""
LARGEST_MASK = 1 << 24
_MASKING = frozenset("Add Where Slice Unsqueeze Squeeze Reshape Expand Cast Identity Trilu".split())
_HANDING = _MASKING | {"Softmax", "Max", "Mul"}
_ASKING = frozenset("IsNaN IsInf Equal Greater GreaterOrEqual Less LessOrEqual ReduceMax".split())


@dataclass(frozen=True)
class BoundMaskInfinities:
    """Write -1e30 where a mask says -inf, which changes no row that sees a key.

    A softmax over nothing but -inf is NaN: what a boolean mask over queries and keys makes of rows of padding. Those
    rows are read by nobody, until dynamic int8 takes one scale for a whole activation, which one NaN makes NaN
    (microsoft/onnxscript#2479). exp(-1e30) is as much 0 as exp(-inf), so that every other row keeps its bits; a row
    without a key averages its values. A mask stays whose -inf is asked for: by IsNaN behind the softmax, as torch
    writes, which puts zeros there, or by a comparison.

    Measure: constants that hold -inf.
    """

    name: ClassVar[str] = "bound-mask-infinities"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        rewrite(editor, _bounded, "mask without infinities")
        if editor.changes:
            editor.notes.append("masks of -inf are -1e30: rows that see nothing average their values and are no NaN")

    def measure(self, model: Model) -> float:
        return float(sum(1 for value in constants(model) if _mask(value) is not None))


def _bounded(value: ir.Value, fill: Array | None) -> Array | None:
    array = _mask(value) if fill is None else fill if _is_mask(fill) and _only_masks(value) else None
    if array is None:
        return None
    bounded: Array = np.where(np.isneginf(array), np.float32(NEVER), array).astype(np.float32)
    return bounded


def _mask(value: ir.Value) -> Array | None:
    """The content of a constant that holds -inf and that only masks are made of; None for any other."""
    tensor = constant_tensor(value)
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or not _only_masks(value):
        return None
    array = small_array(value, LARGEST_MASK)
    return array if array is not None and _is_mask(array) else None


def _is_mask(array: Array) -> bool:
    return array.dtype == np.float32 and bool(np.isneginf(array).any())


def _only_masks(value: ir.Value) -> bool:
    masking = not value.is_graph_output() and all(node.op_type in _MASKING for node in value.consumers())
    return masking and not _is_asked_for(value, set())


def _is_asked_for(value: ir.Value, seen: set[ir.Value]) -> bool:
    """Whether something tells -inf, or the NaN that a softmax makes of nothing else, from a number."""
    if value in seen:
        return False
    seen.add(value)
    readers = value.consumers()
    if any(node.op_type in _ASKING for node in readers):
        return True
    return any(_is_asked_for(out, seen) for node in readers if node.op_type in _HANDING for out in node.outputs)

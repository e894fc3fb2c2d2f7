"""finfo.min in masks → a number that half precision holds, also after a score was added to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.half.hiding import Bearers, bearers, hides
from onnxfix.surgery.half.mask_constants import constants, rewrite
from onnxfix.surgery.sites.attention import attention_scores
from onnxfix.surgery.sites.constants import Array, constant_tensor, small_array
from onnxfix.surgery.sites.half.half_types import LARGEST_SCALE

NEVER = 16384.0
BESIDE = 32752.0
"""What is added to entries that are no scores: half of the largest, so that sums with them are finite."""
# Elements of the largest constant looked at: weights are not read for this, the causal mask of 4,096 positions is.
LIMIT = 1 << 12
LARGEST_MASK = 1 << 24
_MASKING = frozenset("Add Sub Mul Where Slice Unsqueeze Squeeze Reshape Expand Cast Identity".split())
# Readers to which a constant is a bound of activations and not a mask.
_BOUNDED = frozenset({"Clip", "Min", "Max", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"})


@dataclass(frozen=True)
class ClampMaskConstants:
    """Give masks a finite "never" that fp16 holds: constants of 1e8 and beyond beside scores become ±16,384.

    Exporters write `torch.finfo(torch.float32).min` where a query must not see a key. In fp16 and bf16 that is -inf,
    and a row whose keys are all masked becomes NaN, which no later layer loses again. -65,504, the usual replacement,
    is -inf too once a score below -16 or a second mask is added to it. exp(-16,384) is as much 0 as exp(-3.4e38), and
    scores and two more masks fit beside it. Bounds (Clip, Min, Max and comparisons) and infinities stay as they are.

    Only what goes to a softmax: in front of a maximum or an output an activation may be less than -16,384. Numbers that
    are added elsewhere become ±32,752 in fp16, beside which activations up to 16,376 are told apart; those that stand
    in the place of others are ±65,504 there, as every constant beyond it, and a factor of activations is no mask.

    A row that sees no key is not the same then: finfo.min swallows scores, so that it is the mean of all values, and
    beside -16,384 some of a score is left. `scores` False leaves the masks of attention as they are, for scores that
    stay in fp32.

    Measure: constants of 1e8 and beyond that are masks.
    """

    scores: bool = True
    half: str = "fp16"

    name: ClassVar[str] = "clamp-mask-constants"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    def apply(self, editor: Editor) -> None:
        left: frozenset[ir.Node] = frozenset() if self.scores else _of_scores(editor.model)
        rewrite(editor, partial(self._clamped, left, bearers(editor.model)), "mask within the range of half")

    def measure(self, model: Model) -> float:
        known = bearers(model)
        return float(sum(self._clamped(frozenset(), known, value, None) is not None for value in constants(model)))

    def _clamped(self, left: frozenset[ir.Node], known: Bearers, value: ir.Value, fill: Array | None) -> Array | None:
        """What stands in the place of a mask; None for any other constant."""
        array = _mask(value) if fill is None else fill if _is_mask(fill) else None
        read = value.consumers()
        if array is None or _is_bound(value) or (read and left.issuperset(read)):
            return None
        kind = hides(value, known)
        if kind == "scores" or (kind == "sum" and self.half == "fp16"):
            return _within(array, NEVER if kind == "scores" else BESIDE)
        return None


def _of_scores(model: Model) -> frozenset[ir.Node]:
    """What masks of attention are made by, and what reads them, down to the Softmax."""
    sites = attention_scores.find(model, infer(model.ir))
    return frozenset(node for site in sites for node in site.masked_nodes)


def _mask(value: ir.Value) -> Array | None:
    """The content of a constant that holds a mask's "never"; None for any other."""
    tensor = constant_tensor(value)
    if tensor is None or tensor.dtype != ir.DataType.FLOAT:
        return None
    readers = {node.op_type for node in value.consumers()}
    array = small_array(value, LARGEST_MASK if readers <= _MASKING else LIMIT)
    return array if array is not None and _is_mask(array) else None


def _is_mask(array: Array) -> bool:
    return array.dtype == np.float32 and bool((np.isfinite(array) & (np.abs(array) >= LARGEST_SCALE)).any())


def _is_bound(value: ir.Value) -> bool:
    return value.is_graph_output() or any(node.op_type in _BOUNDED for node in value.consumers())


def _within(array: Array, most: float) -> Array:
    beyond = np.isfinite(array) & (np.abs(array) >= LARGEST_SCALE)
    clamped: Array = np.where(beyond, np.sign(array) * most, array).astype(np.float32)
    return clamped

"""What is computed of the mask of padding alone, at tokens of padding: the number that all of them have there.

Exporters write a mask in many ways: cast, compared, turned round, multiplied with places. What comes out is tried on
masks with padding at either side and in between, and counts where it is one number for all.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxfix.surgery.sites.attention.masks.mask import RefusedError
from onnxfix.surgery.sites.attention.masks.softmax_masks import SoftmaxMasks
from onnxfix.surgery.sites.constants import Array

from .axes import Axes, Layout


class MaskNumbers:
    """Of one model, which must not change meanwhile; `mask`: its input [batch, length], 0 at padding."""

    def __init__(self, masks: SoftmaxMasks, mask: ir.Value, layout: Layout) -> None:
        self._masks, self._mask, self._layout = masks, mask, layout
        self._known: dict[ir.Value, float | None] = {}

    def at_padding(self, value: ir.Value | None) -> float | None:
        """The number that a value has at every token of padding, 0 and 1 for False and True; None where there are
        several, or it is made of more than the mask and of sizes."""
        if value is None:
            return None
        if value not in self._known:
            self._known[value] = self._tried(value)
        return self._known[value]

    def is_of_mask(self, value: ir.Value) -> bool:
        """Whether numbers are made of the mask alone, and of sizes."""
        return self._masks.sources(value) == {self._mask}

    def _tried(self, value: ir.Value) -> float | None:
        axes = self._layout.axes(value)
        if axes is None or axes.batch is None or not self.is_of_mask(value):
            return None
        found = set[float]()
        try:
            for sample, made in self._masks.alone(value):
                tokens = _by_token(made, axes, sample.mask.shape)
                found |= set() if tokens is None else set(np.unique(tokens[sample.mask == 0]).astype(float).tolist())
                if tokens is None or len(found) > 1:
                    return None
        except RefusedError:
            return None
        return found.pop() if found else None


def _by_token(made: Array, axes: Axes, shape: tuple[int, ...]) -> Array | None:
    """[batch, length, …]; None where it is of other sizes."""
    if axes.merged and made.shape[axes.token] == shape[0] * shape[1]:
        made = np.moveaxis(made, axes.token, 0)
        return made.reshape(*shape, *made.shape[1:])
    if axes.merged or axes.batch is None or (made.shape[axes.batch], made.shape[axes.token]) != shape:
        return None
    return np.moveaxis(made, (axes.batch, axes.token), (0, 1))

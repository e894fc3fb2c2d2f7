"""Rows that see nothing: a query whose keys are all hidden, which one operator answers by zeros, and another by a mean.

Whether there is any, whether somebody reads what attention makes of it, and zeros in its place.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.surgery.editor import Writer
from onnxfix.surgery.sites.attention.attention_cores import AttentionCore
from onnxfix.surgery.sites.attention.masks.mask import Mask
from onnxfix.surgery.sites.attention.masks.softmax_masks import SoftmaxMasks
from onnxfix.surgery.sites.tokens import padding
from onnxfix.surgery.sites.tokens.mixers import reader_of_padding

from .scores_added import Made, sum_of_terms

AXES_AS_INPUT = 18  # of reductions


class EmptyRows:
    """Of a model. What cannot be told matters."""

    def __init__(self, model: Model) -> None:
        self._masks = SoftmaxMasks(model)
        self._hides = padding.find(model, self._masks)

    def matter(self, softmax: ir.Node, made: ir.Value, *, packed: bool) -> bool:
        """Whether somebody may read what attention makes of such rows in its result. `packed`: tokens will be, and the
        one that stands for its row, the first or the last, is taken for a real one."""
        mask = self._masks.of_softmax(softmax)
        if isinstance(mask, Mask) and mask.padding is None:
            return False  # it is of positions, and each query sees its own
        if self._hides is None or softmax not in self._hides.hidden:
            return True
        return reader_of_padding(made, set(), self._hides, chosen=packed) is not None


def with_zeros(write: Writer, core: AttentionCore, attention: ir.Value, made: Made) -> ir.Value:
    """[batch, queries, heads * size] with zeros where a query sees no key."""
    shared = write.like.graph, core.terms
    if shared not in made.seeing:
        made.seeing[shared] = _seeing(write, core, made)
    apart = write.integers("split_heads", [0, 0, core.heads, core.value.size])
    chosen = [made.seeing[shared], write("Reshape", [attention, apart], "every"), write.array("zero", np.float32(0))]
    width = write.integers("joined_heads", [0, 0, core.heads * core.value.size])
    return write("Reshape", [write("Where", chosen, "of_seeing"), width], "seeing")


def _seeing(write: Writer, core: AttentionCore, made: Made) -> ir.Value:
    """[batch, queries, heads, 1], each 1 where all are alike: whether a query sees a key."""
    added = sum_of_terms(write, core.terms, made, hidden=np.float32(-np.inf))
    ranked = write("Expand", [added, write.integers("four_axes", [1, 1, 1, 1])], "of_four_axes")
    if write.editor.model.opset < AXES_AS_INPUT:
        best = write("ReduceMax", [ranked], "best", attributes={"axes": [-1]})
    else:
        best = write("ReduceMax", [ranked, write.integers("last_axis", [-1])], "best")
    sees = write("Greater", [best, write.array("hidden", np.float32(-np.inf))], "sees")
    return write("Transpose", [sees], "seeing", attributes={"perm": (0, 2, 1, 3)})

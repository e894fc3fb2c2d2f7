"""Rows that see nothing: a query whose keys are all hidden, which one operator answers by zeros, and another by a mean.

Whether there is any, whether somebody reads what attention makes of it, and zeros in its place.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.surgery.editor import Writer
from onnxfix.surgery.sites.attention.attention_cores import AttentionCore, crosses, sources
from onnxfix.surgery.sites.attention.masks.mask import Mask
from onnxfix.surgery.sites.attention.masks.softmax_masks import SoftmaxMasks
from onnxfix.surgery.sites.attention.written_out.score_terms import MASKED, Term
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.tokens import padding
from onnxfix.surgery.sites.tokens.mixers import reader_of_padding

from .scores_added import Made, sum_of_terms

AXES_AS_INPUT = 18  # of reductions


class EmptyRows:
    """Of a model. What cannot be told matters."""

    def __init__(self, model: Model) -> None:
        self._masks = SoftmaxMasks(model)
        self._hides = padding.find(model, self._masks)

    def matter(self, core: AttentionCore, *, packed: bool) -> bool:
        """Whether somebody may read what attention makes of such rows in its result. `packed`: tokens will be, and the
        one that stands for its row, the first or the last, is taken for a real one."""
        softmax, made = core.softmax, core.result.value
        mask = self._masks.of_softmax(softmax)
        if isinstance(mask, Mask) and not mask.sources:
            return False  # it is of positions alone, and each query sees its own
        if self._hides is None or softmax not in self._hides.hidden or crosses(core):
            return True
        return reader_of_padding(made, set(), self._hides, chosen=packed) is not None

    def are_of_several(self, core: AttentionCore, *, packed: bool) -> bool:
        """Whether what is made of rows without a key depends on the order of several masks' numbers, or on what is
        added to one's, and somebody may read it: it is the mean of what the highest number hides."""
        if not self._depends(core.terms):
            return False
        known = isinstance(self._masks.of_softmax(core.softmax), Mask)
        return not known or self.matter(core, packed=packed)

    def _depends(self, terms: tuple[Term, ...]) -> bool:
        hiding = [term for term in terms if self._hides_keys(term)]
        if len(hiding) > 1:  # unless all put the same in the place of scores
            return any(term.keeps is None for term in hiding) or len({term.factor for term in hiding}) > 1
        put = [i for i, term in enumerate(terms) if term.keeps is not None and math.isfinite(term.factor)]
        return bool(put) and put[0] + 1 < len(terms)

    def _hides_keys(self, term: Term) -> bool:
        if term.keeps is not None:
            return True
        constant = constant_tensor(term.value)
        if constant is not None:
            return bool((constant.numpy() * term.factor <= MASKED).any())
        mask = self._masks.of_added(term.value) if term.lead is None else None  # heads of all rows on one axis
        if isinstance(mask, Mask):
            return mask.padding is not None or mask.causal or mask.band is not None or mask.hidden is not None
        return all(source.is_graph_input() for source in sources(term.value))


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
    added = sum_of_terms(write, core.terms, made, endless=True)
    ranked = write("Expand", [added, write.integers("four_axes", [1, 1, 1, 1])], "of_four_axes")
    if write.editor.model.opset < AXES_AS_INPUT:
        best = write("ReduceMax", [ranked], "best", attributes={"axes": [-1]})
    else:
        best = write("ReduceMax", [ranked, write.integers("last_axis", [-1])], "best")
    sees = write("Greater", [best, write.array("hidden", np.float32(-np.inf))], "sees")
    return write("Transpose", [sees], "seeing", attributes={"perm": (0, 2, 1, 3)})

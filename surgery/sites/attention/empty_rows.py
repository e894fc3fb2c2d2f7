"""Rows that see nothing: a query whose keys are all hidden, which one operator answers by zeros, and another by a mean.

Whether there is any, and whether somebody reads what attention makes of it.
"""

from __future__ import annotations

import math
from functools import cached_property

from onnxfix.nouns.model import Model
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.tokens import padding
from onnxfix.surgery.sites.tokens.mixers import reader_of_padding
from onnxfix.surgery.sites.tokens.padding import Padding

from .attention_cores import AttentionCore, crosses, sources
from .masks.mask import Mask
from .masks.softmax_masks import SoftmaxMasks
from .written_out.score_terms import MASKED, Term


class EmptyRows:
    """Of a model, read when it is first asked for. What cannot be told matters."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @cached_property
    def _masks(self) -> SoftmaxMasks:
        return SoftmaxMasks(self._model)

    @cached_property
    def _hides(self) -> Padding | None:
        return padding.find(self._model, self._masks)

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
        if len(terms) < 2:
            return False
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

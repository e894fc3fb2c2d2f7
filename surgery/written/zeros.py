"""Zeros where a query sees no key, behind attention in one operator, which makes a mean of all values there."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxfix.surgery.editor import Writer
from onnxfix.surgery.sites.attention.attention_cores import AttentionCore

from .scores_added import Made, sum_of_terms

AXES_AS_INPUT = 18  # of reductions


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

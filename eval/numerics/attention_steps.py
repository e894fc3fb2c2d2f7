"""Attention in half precision as the flash and memory-efficient kernels of CUDA compute it, in operators.

Both hold scores, the softmax and the sum of weighted values in fp32: queries, keys and values are in half as they
come, the mask is added in fp32, and the result is rounded once. One thing is rounded within: exp(score - largest) is in
half where it meets the values, since tensor cores take halves (`convert_type<Element>(acc_s)` in flash_fwd_kernel.h,
`accumToSmem` in cutlass' kernel_forward.h), while the sum that divides is of the unrounded. The largest score is that
of the keys read so far there and of all keys here, which moves no rounding but by a power of two's share.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.operators import attribute, integer

from .insertion import Insertion

FLOAT = ir.DataType.FLOAT
SWAP = [0, 2, 1, 3]
LOWEST = np.float32(-1e30)
# Inputs of ai.onnx's Attention: what is added to the scores, a cache, and how many keys of a row are real.
MASK, CACHE, LENGTHS = 3, (4, 5), 6


def attention_steps(node: ir.Node, add: Insertion, half: ir.DataType) -> ir.Value | None:
    """The steps of ai.onnx's Attention over [batch, length, heads * size]; None for forms that are not written out,
    whose inputs and results are rounded alone: a cache, a softcap, a mask of booleans, four axes, no stated scale."""
    heads, key_heads = integer(node, "q_num_heads", 0), integer(node, "kv_num_heads", 0)
    given = [*node.inputs, *[None] * (LENGTHS + 1 - len(node.inputs))]
    scale, mask = float(attribute(node, "scale", 0.0)), given[MASK]
    caches = any(given[place] is not None for place in CACHE) or any(value.name for value in node.outputs[1:])
    if not heads or not key_heads or not scale or caches or float(attribute(node, "softcap", 0.0)):
        return None
    if mask is not None and mask.dtype is ir.DataType.BOOL:
        return None
    steps = _Attention(add, half, heads, key_heads)
    query, key, value = (steps.by_heads(each, n) for each, n in zip(given, (heads, key_heads, key_heads), strict=False))
    scores = add.node("MatMul", query, add.node("Transpose", key, perm=[0, 1, 3, 2]))
    scores = add.node("Mul", scores, add.constant(np.array(scale, np.float32), "scale"))
    if mask is not None:
        scores = add.node("Add", scores, add.node("Cast", mask, to=FLOAT))
    scores = steps.seen(scores, given[LENGTHS], causal=bool(integer(node, "is_causal", 0)))
    return steps.weighted(scores, value)


class _Attention:
    def __init__(self, add: Insertion, half: ir.DataType, heads: int, key_heads: int) -> None:
        self.add, self.half, self.heads, self.key_heads = add, half, heads, key_heads
        self.lowest = add.constant(np.array(LOWEST), "lowest")

    def by_heads(self, value: ir.Value | None, heads: int) -> ir.Value:
        """[batch, heads of queries, length, size] in fp32, those of keys once for each query's."""
        apart = self.add.node("Reshape", value, self.add.integers(0, 0, heads, -1))
        turned = self.add.node("Transpose", apart, perm=SWAP)
        if heads < self.heads:
            repeated = np.repeat(np.arange(heads), self.heads // heads)
            turned = self.add.node("Gather", turned, self.add.integers(*repeated.tolist()), axis=1)
        made: ir.Value = self.add.node("Cast", turned, to=FLOAT)
        return made

    def seen(self, scores: ir.Value, lengths: ir.Value | None, *, causal: bool) -> ir.Value:
        """Scores, the lowest number where a query does not see a key."""
        keys = self._places(scores, 3)
        if lengths is not None:
            real = self.add.node("Unsqueeze", lengths, self.add.integers(1, 2, 3))
            scores = self.add.node("Where", self.add.node("Less", keys, real), scores, self.lowest)
        if causal:
            queries = self.add.node("Unsqueeze", self._places(scores, 2), self.add.integers(1))
            scores = self.add.node("Where", self.add.node("LessOrEqual", keys, queries), scores, self.lowest)
        return scores

    def weighted(self, scores: ir.Value, value: ir.Value) -> ir.Value:
        add, last = self.add, self.add.integers(-1)
        largest = add.node("Max", add.node("ReduceMax", scores, last, keepdims=1), self.lowest)
        powers = add.node("Exp", add.node("Sub", scores, largest))
        total = add.node("ReduceSum", powers, last, keepdims=1)
        rounded = add.node("Cast", add.node("Cast", powers, to=self.half), to=FLOAT)
        mixed = add.node("Div", add.node("MatMul", rounded, value), total)
        joined = add.node("Reshape", add.node("Transpose", mixed, perm=SWAP), add.integers(0, 0, -1))
        made: ir.Value = add.node("Cast", joined, to=self.half)
        return made

    def _places(self, scores: ir.Value, axis: int) -> ir.Value:
        """0, 1, 2 and so on, along an axis of the scores."""
        length = self.add.node("Shape", scores, start=axis, end=axis + 1)
        ends = [self.add.constant(np.array(n, np.int64), "end") for n in (0, 1)]
        made: ir.Value = self.add.node("Range", ends[0], self.add.node("Squeeze", length), ends[1])
        return made

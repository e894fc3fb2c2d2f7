"""Attention that is one operator already: of ONNX from operator set 23 on, or of ONNX Runtime's own."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.types.operators import attribute, is_standard

CONTRIB = "com.microsoft"
# Where each takes what is added to the scores; None for those that are told lengths only.
_BIAS: dict[tuple[str, str], int | None] = {
    ("", "Attention"): 3,
    (CONTRIB, "Attention"): 5,
    (CONTRIB, "MultiHeadAttention"): 5,
    (CONTRIB, "GroupQueryAttention"): 10,
    (CONTRIB, "PackedAttention"): 5,
    (CONTRIB, "PackedMultiHeadAttention"): 6,
    (CONTRIB, "DecoderMaskedMultiHeadAttention"): 5,
    (CONTRIB, "PagedAttention"): None,
    (CONTRIB, "SparseAttention"): None,
    (CONTRIB, "QAttention"): None,
    (CONTRIB, "LongformerAttention"): None,
}


@dataclass(frozen=True)
class FusedAttention:
    """`heads` of queries and of keys, 0 where the operator takes them from the shapes of four axes. `scale` 0 stands
    for one over the root of the head size, as in the operators. `bias` is added to the scores, or says by booleans what
    is seen; None without one."""

    node: ir.Node
    heads: int
    key_heads: int
    scale: float
    bias: ir.Value | None


def fused_attention(node: ir.Node) -> FusedAttention | None:
    """What an operator says of itself; None for any other."""
    key = ("" if is_standard(node) else node.domain, node.op_type)
    if key not in _BIAS:
        return None
    heads = int(attribute(node, "num_heads", attribute(node, "q_num_heads", 0)))
    place = _BIAS[key]
    bias = node.inputs[place] if place is not None and len(node.inputs) > place else None
    keys = int(attribute(node, "kv_num_heads", heads))
    return FusedAttention(node, heads, keys, float(attribute(node, "scale", 0.0)), bias)

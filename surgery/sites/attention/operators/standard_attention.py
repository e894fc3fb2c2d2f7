"""ai.onnx's Attention in the forms that two products and a Softmax say as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import attribute, integer, is_standard
from onnxfix.surgery.sites.layouts.ground import Ground, grounds

from ..attention_cores import sources
from ..caches import appended

BIAS = 3
NO_MASK, BOOLEAN, ADDED = "none", "boolean", "added"


@dataclass(frozen=True)
class StandardAttention:
    """`heads` of queries, `key_heads` of keys and values, each of `size` features (values: of `value_size`). `flat`:
    operands are [batch, positions, heads * size], otherwise [batch, heads, positions, size]. `mask` is one of none,
    boolean, added."""

    node: ir.Node
    heads: int
    key_heads: int
    size: int
    value_size: int
    flat: bool
    scale: float
    causal: bool
    mask: str


def find(model: Model) -> Iterator[StandardAttention]:
    """All of the main graph, in its order, that are in fp32 and keep nothing: no cache, no cap, no second output.

    With a mask, self-attention alone: a row that sees nothing is zeros, and elsewhere such a row need not be padding;
    and none that is causal beside an added mask, which no exporter writes and nothing would put together again.
    """
    nodes = [node for node in model.graph if node.op_type == "Attention" and is_standard(node)]
    if not nodes:
        return
    types, known = infer(model.ir), grounds(model)
    for node in nodes:
        if _is_plain(node) and all(types.is_float32(value) for value in node.inputs[:BIAS]):
            mask = node.inputs[BIAS] if len(node.inputs) > BIAS else None
            kind = NO_MASK if mask is None else ADDED if types.is_float32(mask) else BOOLEAN
            found = [_site(node, kind, ground) for ground in known]
            boolean = kind != BOOLEAN or types.get(mask) == "tensor(bool)"
            if kind == ADDED and integer(node, "is_causal", 0):
                continue
            if found[0] is not None and found[0] == found[1] and boolean:
                yield found[0]


def _is_plain(node: ir.Node) -> bool:
    """A cache that the graph appends to before is for an operator that does it, and stays with its attention."""
    more = [*node.inputs[BIAS + 1 :], *(v for v in node.outputs[1:] if v.uses() or v.is_graph_output())]
    key = node.inputs[1] if len(node.inputs) > BIAS - 1 else None
    if key is None or not node.outputs or any(value is not None for value in more) or appended(key) is not None:
        return False
    if len(node.inputs) > BIAS and (node.inputs[0] is None or sources(node.inputs[0]) != sources(key)):
        return False
    precision = integer(node, "softmax_precision", ir.DataType.FLOAT)
    return float(attribute(node, "softcap", 0.0)) == 0 and precision == ir.DataType.FLOAT


def _site(node: ir.Node, kind: str, ground: Ground) -> StandardAttention | None:
    query, key, value = (ground.shape(v) for v in node.inputs[:BIAS])
    if query is None or key is None or value is None or not len(query) == len(key) == len(value):
        return None
    flat = len(query) == BIAS
    if flat:
        heads, keys = integer(node, "q_num_heads", 0), integer(node, "kv_num_heads", 0)
        if heads < 1 or keys < 1 or query[-1] % heads or value[-1] % keys:
            return None
        size, value_size, length = query[-1] // heads, value[-1] // keys, key[1]
    else:
        heads, keys, size, value_size, length = query[1], key[1], query[-1], value[-1], key[-2]
    if kind != NO_MASK and not _fits(ground.shape(node.inputs[BIAS]), length):
        return None
    if not size or not keys or heads % keys:
        return None
    scale = float(attribute(node, "scale", 0.0)) or size**-0.5
    causal = bool(integer(node, "is_causal", 0))
    return StandardAttention(node, heads, keys, size, value_size, flat, scale, causal, kind)


def _fits(mask: tuple[int, ...] | None, keys: int) -> bool:
    """Whether a mask is laid over scores as all operators lay it: from operator set 24 on it may have fewer keys."""
    return mask is not None and len(mask) in (2, 4) and mask[-1] in (1, keys)

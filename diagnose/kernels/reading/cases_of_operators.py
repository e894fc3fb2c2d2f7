"""The case of each operator: which inputs, attributes and axes say what the choice of a kernel depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx_ir as ir

from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.layouts.ground import Ground

from ..cases import Case, Layout, Mask
from ..choice import name_of
from ..operators import OPERATORS
from .reader import Reader

ELEMENTS = {"tensor(float)": "fp32", "tensor(float16)": "fp16", "tensor(bfloat16)": "bf16"}


def read_case(node: ir.Node, grounds: tuple[Ground, Ground], types: ElementTypes) -> Case | None:
    """The case of an operator that has a choice of kernels; None for any other node."""
    operator = OPERATORS.get(("" if is_standard(node) else node.domain, node.op_type))
    if operator is None or not node.inputs:
        return None
    read = Reader(node, grounds)
    element = ELEMENTS.get(types.get(read.given(0)) or "", "")
    return Case(name_of(operator), element, **_READERS[operator.domain, operator.name](read))


def _multi_head(read: Reader) -> Mapping[str, Any]:
    heads = int(read.number("num_heads"))
    ranks = [read.rank(place) for place in (0, 1)]
    layout = Layout.SEPARATE
    if ranks[0] == 5:  # [batch, sequence, heads, 3, size]
        layout = Layout.PACKED
    elif ranks[1] == 5:  # [batch, sequence, heads, 2, size]
        layout = Layout.PACKED_KV
    elif ranks[1] == 4:  # [batch, heads, sequence, size]
        layout = Layout.BY_HEADS
    packed, joined = layout is Layout.PACKED, layout in (Layout.PACKED, Layout.PACKED_KV)
    size = read.fixed(0, -1) if packed else _share(read.fixed(0, -1), heads)
    by_heads = layout is Layout.BY_HEADS
    value_size = size if joined else _share(read.fixed(2, -1), 1 if by_heads else heads)
    axis = 2 if by_heads else 1
    cache = read.has(6)
    own_keys = read.fixed(0, 1) if packed else read.fixed(1, axis)
    square = True if packed else read.alike((0, 1), (1, axis))
    return {
        "heads": heads,
        "key_heads": heads,
        "size": size,
        "value_size": value_size,
        "queries": read.fixed(0, 1),
        "keys": _with_cache(read, own_keys, 6, 2) if cache else own_keys,
        "square": False if cache else square,
        "mask": _mask(read, 4),
        "layout": layout,
        "bias": read.has(5),
        "projected": read.has(3),
        "causal": bool(read.number("unidirectional")),
        "past": cache,
        "present": read.makes(1, 2),
        "steps": read.has(8, 9),
        "scores": read.makes(3),
    }


def _projected(read: Reader) -> Mapping[str, Any]:
    """Heads and their sizes, of operators that hold the weights of queries, keys and values."""
    heads = int(read.number("num_heads"))
    sizes = [int(n) for n in read.number("qkv_hidden_sizes", ())]
    size = _share(sizes[0], heads) if sizes else _share(read.fixed(1, -1), 3 * heads)
    value_size = _share(sizes[2], heads) if len(sizes) > 2 else size
    return {"heads": heads, "key_heads": heads, "size": size, "value_size": value_size}


def _attention(read: Reader) -> Mapping[str, Any]:
    queries = read.fixed(0, 1)
    return {
        **_projected(read),
        "queries": queries,
        "keys": None if read.has(4) else queries,
        "square": not read.has(4),
        "mask": _mask(read, 3),
        "layout": Layout.PACKED,
        "bias": read.has(5),
        "causal": bool(read.number("unidirectional")),
        "past": read.has(4),
        "present": read.makes(1),
    }


def _group_query(read: Reader) -> Mapping[str, Any]:
    heads, key_heads = int(read.number("num_heads")), int(read.number("kv_num_heads"))
    packed = not read.has(1)
    size = _share(read.fixed(0, -1), heads + 2 * key_heads if packed else heads)
    return {
        "heads": heads,
        "key_heads": key_heads,
        "size": size,
        "value_size": size,
        "queries": read.fixed(0, 1),
        "layout": Layout.PACKED if packed else Layout.SEPARATE,
        "bias": read.has(10),
        "causal": bool(read.number("causal", 1)),
        "past": read.has(3),
        "present": True,
        "window": int(read.number("local_window_size", -1)) != -1,
        "softcap": float(read.number("softcap", 0.0)) != 0.0,
        "sink": read.has(11),
        "smooth": bool(read.number("smooth_softmax")) and not read.has(11),
        "quantized": any(read.number(name, "NONE") != "NONE" for name in ("k_quant_type", "v_quant_type")),
    }


def _paged(read: Reader) -> Mapping[str, Any]:
    heads, key_heads = int(read.number("num_heads")), int(read.number("kv_num_heads"))
    size = _share(read.fixed(0, -1), heads if read.has(1) else heads + 2 * key_heads)
    return {"heads": heads, "key_heads": key_heads, "size": size, "value_size": size, "past": True}


def _packed_multi_head(read: Reader) -> Mapping[str, Any]:
    heads = int(read.number("num_heads"))
    packed = read.rank(0) == 4  # [tokens, heads, 3, size]
    size = read.fixed(0, -1) if packed else _share(read.fixed(0, -1), heads)
    queries = read.fixed(4, 1)
    return {
        "heads": heads,
        "key_heads": heads,
        "size": size,
        "value_size": size if packed else _share(read.fixed(2, -1), heads),
        "queries": queries,
        "keys": queries,
        "square": True,
        "layout": Layout.PACKED if packed else Layout.SEPARATE,
        "bias": read.has(6),
    }


def _packed(read: Reader) -> Mapping[str, Any]:
    queries = read.fixed(3, 1)
    return {
        **_projected(read),
        "queries": queries,
        "keys": queries,
        "square": True,
        "layout": Layout.PACKED,
        "bias": read.has(5),
    }


def _standard(read: Reader) -> Mapping[str, Any]:
    by_heads = read.rank(0) == 4
    heads = read.fixed(0, 1) if by_heads else int(read.number("q_num_heads"))
    key_heads = read.fixed(1, 1) if by_heads else int(read.number("kv_num_heads"))
    axis = 2 if by_heads else 1
    own_keys, cache = read.fixed(1, axis), read.has(4)
    return {
        "heads": heads or 0,
        "key_heads": key_heads or 0,
        "size": read.fixed(0, -1) if by_heads else _share(read.fixed(0, -1), heads),
        "value_size": read.fixed(2, -1) if by_heads else _share(read.fixed(2, -1), key_heads),
        "queries": read.fixed(0, axis),
        "keys": _with_cache(read, own_keys, 4, 2) if cache else own_keys,
        "square": False if cache else read.alike((0, axis), (1, axis)),
        "bias": read.has(3),
        "causal": bool(read.number("is_causal")),
        "lengths": read.has(6),
        "past": cache,
        "present": read.makes(1, 2),
        "scores": read.makes(3),
        "softcap": float(read.number("softcap", 0.0)) != 0.0,
    }


def _share(width: int | None, parts: int | None) -> int | None:
    return width // parts if width is not None and parts else None


def _with_cache(read: Reader, own: int | None, place: int, axis: int) -> int | None:
    before = read.fixed(place, axis)
    return None if own is None or before is None else own + before


def _mask(read: Reader, place: int) -> Mask:
    """AttentionMaskType of multihead_attention_helper.h and attention_base.cc, by rank and, of one axis, by length."""
    if not read.has(place):
        return Mask.NONE
    rank = read.rank(place)
    if rank != 1:
        return {2: Mask.KEYS, 3: Mask.SCORES, 4: Mask.FOUR}.get(rank or 0, Mask.OPEN)
    found, batch = read.lengths(place, 0), read.lengths(0, 0)
    for form, times, more in ((Mask.LENGTHS, 1, 0), (Mask.OFFSETS, 3, 2), (Mask.ENDS, 2, 0)):
        if all(n is not None and b is not None and n == times * b + more for n, b in zip(found, batch, strict=True)):
            return form
    return Mask.OPEN


_READERS: dict[tuple[str, str], Callable[[Reader], Mapping[str, Any]]] = {
    ("com.microsoft", "MultiHeadAttention"): _multi_head,
    ("com.microsoft", "Attention"): _attention,
    ("com.microsoft", "GroupQueryAttention"): _group_query,
    ("com.microsoft", "PackedMultiHeadAttention"): _packed_multi_head,
    ("com.microsoft", "PackedAttention"): _packed,
    ("com.microsoft", "PagedAttention"): _paged,
    ("", "Attention"): _standard,
}

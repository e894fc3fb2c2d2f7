"""A model of one node for a case, and what it is fed: the other way round than cases are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import helper

from onnxfix.diagnose.kernels.cases import Case, Layout, Mask

BATCH, PAST = 1, 8
TYPES: dict[str, tuple[int, Any]] = {
    "fp16": (onnx.TensorProto.FLOAT16, np.float16),
    "fp32": (onnx.TensorProto.FLOAT, np.float32),
    "bf16": (onnx.TensorProto.BFLOAT16, ml_dtypes.bfloat16),
}


@dataclass
class Inputs:
    """Arrays by name, in the order of the node's inputs; None for one that is left out."""

    case: Case
    names: list[str] = field(default_factory=list)
    arrays: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, *shape: int, kind: Any = None, value: Any = 0) -> None:
        self.names.append(name)
        self.arrays[name] = np.full(shape, value, kind or TYPES[self.case.element][1])

    def skip_to(self, place: int) -> None:
        self.names += [""] * (place - len(self.names))


def onnx_type(array: Any) -> int:
    """The element type of a feed."""
    numbers = {np.dtype(kind): number for number, kind in TYPES.values()}
    integers = {np.int8: "INT8", np.int32: "INT32", np.int64: "INT64"}
    numbers |= {np.dtype(kind): onnx.TensorProto.DataType.Value(name) for kind, name in integers.items()}
    return numbers[array.dtype]


def node(case: Case) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The model and its feeds. Sizes that the case leaves open are 512."""
    inputs = Inputs(case)
    outputs, attributes = _MAKERS[case.operator](case, inputs)
    domain, _, op_type = case.operator.rpartition(".")
    made = helper.make_node(
        op_type, inputs.names, outputs, name="attention", domain="" if domain == "ai.onnx" else domain, **attributes
    )
    given = [helper.make_tensor_value_info(n, onnx_type(array), array.shape) for n, array in inputs.arrays.items()]
    element, cached = TYPES[case.element][0], onnx.TensorProto.INT8 if case.quantized else TYPES[case.element][0]
    results = [
        helper.make_tensor_value_info(name, cached if name.startswith("present") else element, None)
        for name in outputs
        if name
    ]
    graph = helper.make_graph([made], "g", given, results)
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10), inputs.arrays


def _rows(case: Case) -> tuple[int, int]:
    queries = case.queries or 512
    return queries, case.keys or queries


def _mask(case: Case, inputs: Inputs, place: int) -> None:
    queries, keys = _rows(case)
    shapes = {
        Mask.LENGTHS: (BATCH,), Mask.ENDS: (2 * BATCH,), Mask.OFFSETS: (3 * BATCH + 2,), Mask.KEYS: (BATCH, keys),
        Mask.SCORES: (BATCH, queries, keys), Mask.FOUR: (BATCH, 1, keys, keys),
    }  # fmt: skip
    if case.mask is not Mask.NONE:
        inputs.skip_to(place)
        inputs.add("mask", *shapes[case.mask], kind=np.int32, value=1)


def _multi_head(case: Case, inputs: Inputs) -> tuple[list[str], dict[str, Any]]:
    queries, keys = _rows(case)
    heads, size, value_size = case.heads, case.size or 64, case.value_size or 64
    own = queries if case.past else keys
    if case.layout is Layout.PACKED:
        inputs.add("query", BATCH, queries, heads, 3, size)
    elif case.layout is Layout.BY_HEADS:
        inputs.add("query", BATCH, queries, heads * size)
        inputs.add("key", BATCH, heads, keys, size)
        inputs.add("value", BATCH, heads, keys, value_size)
    else:
        inputs.add("query", BATCH, queries, heads * size)
        inputs.add("key", BATCH, own, heads * size)
        inputs.add("value", BATCH, own, heads * value_size)
    _mask(case, inputs, 4)
    past = keys - own if case.past and keys > own else PAST
    total = own + past if case.past else keys
    if case.bias:
        inputs.skip_to(5)
        inputs.add("bias", 1, 1, queries, total)
    if case.past:
        inputs.skip_to(6)
        inputs.add("past_key", BATCH, heads, past, size)
        inputs.add("past_value", BATCH, heads, past, value_size)
    if case.steps:
        inputs.skip_to(8)
        inputs.add("steps", 1, kind=np.int32, value=past)
    more = ["present_key", "present_value"] if case.present or case.past else ["", ""]
    outputs = ["y", *more, "scores"] if case.scores else ["y", *more]
    while outputs[-1] == "":
        outputs.pop()
    return outputs, {"num_heads": heads, "unidirectional": int(case.causal)}


def _attention(case: Case, inputs: Inputs) -> tuple[list[str], dict[str, Any]]:
    queries, _ = _rows(case)
    size, value_size = case.size or 64, case.value_size or 64
    sizes = [case.heads * size, case.heads * size, case.heads * value_size]
    inputs.add("x", BATCH, queries, 96)
    inputs.add("weights", 96, sum(sizes))
    inputs.add("projected", sum(sizes))
    _mask(case, inputs, 3)
    if case.past:
        inputs.skip_to(4)
        inputs.add("past", 2, BATCH, case.heads, PAST, size)
    if case.bias:
        inputs.skip_to(5)
        inputs.add("bias", 1, 1, queries, queries + PAST * case.past)
    attributes = {"num_heads": case.heads, "unidirectional": int(case.causal), "qkv_hidden_sizes": sizes}
    return ["y", "present"] if case.past or case.present else ["y"], attributes


def _group_query(case: Case, inputs: Inputs) -> tuple[list[str], dict[str, Any]]:
    queries, _ = _rows(case)
    size, past = case.size or 64, 512 if case.past else 0
    cached = np.int8 if case.quantized else None
    seen = 100 if case.past else queries
    inputs.add("query", BATCH, queries, case.heads * size)
    inputs.add("key", BATCH, queries, case.key_heads * size)
    inputs.add("value", BATCH, queries, case.key_heads * size)
    if case.past:
        inputs.add("past_key", BATCH, case.key_heads, past, size, kind=cached)
        inputs.add("past_value", BATCH, case.key_heads, past, size, kind=cached)
    inputs.skip_to(5)
    inputs.add("last", BATCH, kind=np.int32, value=seen - 1)
    inputs.add("total", 1, kind=np.int32, value=seen)
    if case.bias:
        inputs.skip_to(10)
        inputs.add("bias", 1, 1, queries, seen)
    if case.sink:
        inputs.skip_to(11)
        inputs.add("sink", case.heads)
    attributes: dict[str, Any] = {"num_heads": case.heads, "kv_num_heads": case.key_heads}
    if not case.causal:
        attributes["causal"] = 0
    if case.quantized:
        inputs.skip_to(12)
        inputs.add("key_scale", 1, kind=np.float32, value=1)
        inputs.names.append("key_scale")
        attributes |= {"k_quant_type": "PER_TENSOR", "v_quant_type": "PER_TENSOR", "kv_cache_bit_width": 8}
    if case.smooth:
        attributes["smooth_softmax"] = 1
    if case.window:
        attributes["local_window_size"] = 128
    if case.softcap:
        attributes["softcap"] = 30.0
    return ["y", "present_key", "present_value"], attributes


def _offsets(case: Case, inputs: Inputs) -> None:
    queries, _ = _rows(case)
    inputs.add("offsets", BATCH, queries, kind=np.int32)
    inputs.arrays["offsets"][:] = np.arange(BATCH * queries, dtype=np.int32).reshape(BATCH, queries)
    inputs.add("ends", BATCH + 1, kind=np.int32)
    inputs.arrays["ends"][:] = np.arange(BATCH + 1, dtype=np.int32) * queries


def _packed_multi_head(case: Case, inputs: Inputs) -> tuple[list[str], dict[str, Any]]:
    queries, _ = _rows(case)
    tokens, size, value_size = BATCH * queries, case.size or 64, case.value_size or 64
    if case.layout is Layout.PACKED:
        inputs.add("query", tokens, case.heads, 3, size)
    else:
        inputs.add("query", tokens, case.heads * size)
        inputs.add("key", tokens, case.heads * size)
        inputs.add("value", tokens, case.heads * value_size)
    inputs.skip_to(4)
    _offsets(case, inputs)
    if case.bias:
        inputs.add("bias", 1, 1, queries, queries)
    return ["y"], {"num_heads": case.heads}


def _packed(case: Case, inputs: Inputs) -> tuple[list[str], dict[str, Any]]:
    queries, _ = _rows(case)
    size, value_size = case.size or 64, case.value_size or 64
    sizes = [case.heads * size, case.heads * size, case.heads * value_size]
    inputs.add("x", BATCH * queries, 96)
    inputs.add("weights", 96, sum(sizes))
    inputs.add("projected", sum(sizes))
    _offsets(case, inputs)
    if case.bias:
        inputs.add("bias", 1, 1, queries, queries)
    return ["y"], {"num_heads": case.heads, "qkv_hidden_sizes": sizes}


def _standard(case: Case, inputs: Inputs) -> tuple[list[str], dict[str, Any]]:
    queries, keys = _rows(case)
    size, value_size = case.size or 64, case.value_size or 64
    own = queries if case.past else keys
    inputs.add("query", BATCH, queries, case.heads * size)
    inputs.add("key", BATCH, own, case.key_heads * size)
    inputs.add("value", BATCH, own, case.key_heads * value_size)
    total = own + PAST if case.past else keys
    if case.bias:
        inputs.add("mask", queries, total)
    if case.past:
        inputs.skip_to(4)
        inputs.add("past_key", BATCH, case.key_heads, PAST, size)
        inputs.add("past_value", BATCH, case.key_heads, PAST, value_size)
    if case.lengths:
        inputs.skip_to(6)
        inputs.add("lengths", BATCH, kind=np.int64, value=keys)
    more = ["present_key", "present_value"] if case.past or case.scores else []
    outputs = ["y", *more, "scores"] if case.scores else ["y", *more]
    attributes = {"q_num_heads": case.heads, "kv_num_heads": case.key_heads, "is_causal": int(case.causal)}
    return outputs, attributes


_MAKERS = {
    "com.microsoft.MultiHeadAttention": _multi_head,
    "com.microsoft.Attention": _attention,
    "com.microsoft.GroupQueryAttention": _group_query,
    "com.microsoft.PackedMultiHeadAttention": _packed_multi_head,
    "com.microsoft.PackedAttention": _packed,
    "ai.onnx.Attention": _standard,
}

"""A graph in bfloat16 → the same in fp32, with every result rounded to bfloat16.

ONNX Runtime has hardly any kernel in bfloat16 on a CPU but Cast; sums and products of two such numbers, rounded once
more, are the same in fp32.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.operators import proto_graphs


def widen(root: Any, narrow: Set[str]) -> None:
    """In place, of a GraphProto. `narrow`: names of the values in bfloat16."""
    import onnx

    half, whole = onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT
    for graph in proto_graphs(root):
        for value in graph.input:
            if value.type.tensor_type.elem_type == half:
                value.type.tensor_type.elem_type = whole
        for tensor in graph.initializer:
            _widen(tensor)
        for attribute in (a for node in graph.node for a in node.attribute):
            if attribute.name in ("to", "dtype") and attribute.i == half:
                attribute.i = whole
            _widen(attribute.t)
        nodes = [each for node in graph.node for each in _rounded(node, narrow)]
        del graph.node[:]
        graph.node.extend(nodes)


def _widen(tensor: Any) -> None:
    import onnx

    if tensor.data_type == onnx.TensorProto.BFLOAT16:
        array = ir.from_proto(tensor).numpy().astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def _rounded(node: Any, narrow: Set[str]) -> list[Any]:
    """The node, and behind each result in bfloat16 two Casts that round it."""
    import onnx

    made = [node]
    for index, name in enumerate(node.output):
        if name in narrow:
            node.output[index] = f"{name} in fp32"
            for to, source, result in (("BFLOAT16", "in fp32", f"{name} in bf16"), ("FLOAT", "in bf16", name)):
                kind = onnx.TensorProto.DataType.Value(to)
                made.append(onnx.helper.make_node("Cast", [f"{name} {source}"], [result], to=kind))
    return made

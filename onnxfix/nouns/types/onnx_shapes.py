"""ONNX's own shape inference with its data propagation, where that is of a size that can be held.

It keeps an entry for every element of a list of integers, whose size a broken file may state as 2⁴⁰: 6 GB held at
4·10⁸ elements with onnx 1.22.
"""

from __future__ import annotations

import math
from typing import Any

from .operators import proto_graphs

MOST_ELEMENTS = 10_000_000
"""Of integers in one value. A batch of 64 rows of 8,192 tokens is 5·10⁵."""
_NO_SIZE = 2**62  # ends of Slices that mean all of an axis
_FEW = 64


def infer(proto: Any) -> Any:
    """A copy of a ModelProto with the shapes that inference finds. Raises what onnx raises, which is of several types.

    Integers are followed through the graph only where none has more than `MOST_ELEMENTS`.
    """
    import onnx

    if not _states_many(proto.graph):
        return onnx.shape_inference.infer_shapes(proto, data_prop=True)
    plain = onnx.shape_inference.infer_shapes(proto)
    many = any(_elements(info) > MOST_ELEMENTS for graph in proto_graphs(plain.graph) for info in _infos(graph))
    return plain if many else onnx.shape_inference.infer_shapes(proto, data_prop=True)


def _infos(graph: Any) -> list[Any]:
    return [*graph.input, *graph.output, *graph.value_info]


def _elements(info: Any) -> int:
    """Of integers, as far as sizes are known; 0 for other types."""
    tensor = info.type.tensor_type
    if tensor.elem_type not in (6, 7):  # int32 and int64 are what sizes are computed in
        return 0
    return math.prod(dim.dim_value for dim in tensor.shape.dim if dim.dim_value > 0)


def _states_many(graph: Any) -> bool:
    """Whether a declared shape or a small constant has so many elements."""
    import onnx

    for each in proto_graphs(graph):
        if any(_elements(info) > MOST_ELEMENTS for info in _infos(each)):
            return True
        tensors = [*each.initializer, *(a.t for node in each.node for a in node.attribute if a.HasField("t"))]
        for tensor in tensors:
            small = tensor.data_type in (6, 7) and math.prod(tensor.dims) <= _FEW and not tensor.external_data
            if small and any(MOST_ELEMENTS < n < _NO_SIZE for n in onnx.numpy_helper.to_array(tensor).flat):
                return True
    return False

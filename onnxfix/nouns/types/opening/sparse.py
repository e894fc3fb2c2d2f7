"""Sparse tensors: whether one is right, and the dense tensor that it stands for (onnx.proto, SparseTensorProto)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from . import tensors

MOST_BYTES = 1 << 31
"""Of the dense form: what a protobuf can hold."""


def faults(sparse: Any) -> Iterator[str]:
    """Clauses about a SparseTensorProto."""
    for tensor in (sparse.values, sparse.indices):
        if tensor.data_location == 1:
            yield "is sparse and lies in a data file, which is not supported"
            return
        for clause in tensors.faults(tensor):
            yield f"is sparse and {clause}"
            return
    dims, count = list(sparse.dims), math.prod(sparse.values.dims)
    dtype = ir.DataType(sparse.values.data_type)
    if not dims or any(dim < 1 for dim in dims) or dtype == ir.DataType.STRING:
        yield f"is sparse, of {dtype.name} and the shape {dims}"
    elif tensors.needed_bytes(dtype, math.prod(dims)) > MOST_BYTES:
        yield f"is sparse, and its dense form of the shape {dims} is too large"
    elif dtype.bitwidth < 8 or sparse.indices.data_type != ir.DataType.INT64:
        yield "is sparse, of a type that is not supported"
    elif list(sparse.indices.dims) not in ([count], [count, len(dims)]):
        yield f"is sparse and has {count} values at indices of the shape {list(sparse.indices.dims)}"
    elif not _within(sparse, dims):
        yield f"is sparse and has an index outside of the shape {dims}"


def dense(sparse: Any) -> Any:
    """The TensorProto of a SparseTensorProto without faults."""
    import onnx

    values = ir.from_proto(sparse.values).numpy()
    made = np.zeros(math.prod(sparse.dims), dtype=values.dtype)
    made[_flat(sparse)] = values.reshape(-1)
    tensor = onnx.TensorProto(data_type=sparse.values.data_type, dims=sparse.dims, raw_data=made.tobytes())
    tensor.name = sparse.values.name
    return tensor


def _within(sparse: Any, dims: list[int]) -> bool:
    indices = _indices(sparse)
    most = np.array(dims if indices.ndim == 2 else [math.prod(dims)])
    return bool(np.all(indices >= 0) and np.all(indices < most))


def _flat(sparse: Any) -> Any:
    indices = _indices(sparse)
    return np.ravel_multi_index(tuple(indices.T), tuple(sparse.dims)) if indices.ndim == 2 else indices


def _indices(sparse: Any) -> Any:
    return ir.from_proto(sparse.indices).numpy()

"""Weights that are stored twice, as they are or transposed: a tied output layer that an exporter folded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.weights import weight_data
from onnxfix.nouns.weights.weight_data import Array

# Elements from which on a matrix counts: what is smaller is often equal by chance, and saves nothing.
LARGE = 1024
# Elements of a row and of a column, from the middle, that are compared before all are.
SAMPLE = 8

_Samples = tuple[bytes, bytes]


@dataclass(frozen=True)
class Twin:
    """`again` has the numbers of `first`, transposed where it is `turned`; `first` is seen wherever `again` is read."""

    first: ir.Value
    again: ir.Value
    turned: bool

    @property
    def nbytes(self) -> int:
        """What the second costs."""
        tensor = self.again.const_value
        return tensor.nbytes if tensor is not None else 0


def find(model: Model) -> list[Twin]:
    """All second copies of matrices, each beside the first of its kind, in graph order. Reads a few numbers of each
    weight, and all of those that have these in common."""
    firsts: dict[tuple[object, ...], list[tuple[ir.Value, _Samples]]] = {}
    found = []
    for value, tensor in _matrices(model):
        samples = _samples(tensor)
        key = (tensor.dtype, *sorted(tensor.shape.numpy()))
        earlier = firsts.setdefault(key, [])
        twin = next((t for one in earlier if (t := _twin(model.graph, one, (value, samples)))), None)
        if twin is not None:
            found.append(twin)
        else:
            earlier.append((value, samples))
    return found


def _matrices(model: Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is None or value.is_graph_input() or tensor.dtype == ir.DataType.STRING:
                continue
            if len(tensor.shape) >= 2 and tensor.size >= LARGE and tensor.dtype.itemsize >= 1:
                yield value, tensor


def _twin(main: ir.Graph, earlier: tuple[ir.Value, _Samples], later: tuple[ir.Value, _Samples]) -> Twin | None:
    (first, samples), (again, others) = earlier, later
    one, other = first.const_value, again.const_value
    if again.is_graph_output() or one is None or other is None:
        return None
    if first.graph is not again.graph and first.graph is not main:
        return None
    shapes = tuple(one.shape.numpy()), tuple(other.shape.numpy())
    if shapes[0] == shapes[1] and samples == others and _equal(one, other, False):
        return Twin(first, again, False)
    turned = len(shapes[0]) == 2 and shapes[0] == shapes[1][::-1] and samples == others[::-1]
    return Twin(first, again, True) if turned and _equal(one, other, True) else None


def _equal(one: ir.TensorProtocol, other: ir.TensorProtocol, turned: bool) -> bool:
    array, beside = weight_data.array(one), weight_data.array(other)
    return bool(np.array_equal(_bits(array.T if turned else array), _bits(beside)))


def _bits(array: Array) -> Array:
    """As integers, so that NaN equals itself and −0 is not 0."""
    if array.dtype.kind in "fVc" and array.dtype.itemsize in (1, 2, 4, 8):
        return array.view(f"u{array.dtype.itemsize}")
    return array


def _samples(tensor: ir.TensorProtocol) -> _Samples:
    """Bytes of a row and of a column, both from the middle: those of a transposed matrix are these, exchanged."""
    rows = int(tensor.shape.numpy()[0])
    columns = tensor.size // rows
    size, where = int(tensor.dtype.itemsize), weight_data.file_range(tensor)
    first = rows // 2 * columns + columns // 2
    along = [first + i for i in range(min(SAMPLE, columns - columns // 2))]
    down = [first + i * columns for i in range(min(SAMPLE, rows - rows // 2))]
    if where is not None:
        return (
            where.read(along[0] * size, len(along) * size).tobytes(),
            b"".join(where.read(i * size, size).tobytes() for i in down),
        )
    flat = weight_data.array(tensor).reshape(-1)
    return flat[along].tobytes(), flat[down].tobytes()

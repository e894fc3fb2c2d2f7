"""Whether a weight holds another's numbers in another type: rounded, widened, or as integers with scales."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.weights import weight_data
from onnxfix.nouns.weights.weight_data import PIECE, Array

POINTS = 48
"""Elements, spread over a weight, by which a pair is found before all are compared."""


@dataclass(frozen=True)
class Error:
    """Between two weights, in the numbers that they stand for. `relative`: L2 of the difference over that of the
    first; `rounded`: elements that are not the other's as the type's own rounding makes them."""

    largest: float
    relative: float
    unlike: int = 0


def is_float(dtype: ir.DataType) -> bool:
    return dtype.is_floating_point() and dtype.itemsize >= 1


def sample(tensor: ir.TensorProtocol, turned: bool = False) -> Array:
    """Some elements as float64; of a matrix that is `turned`, those of the other one's places."""
    places = np.unique(np.linspace(0, tensor.size - 1, POINTS).astype(np.int64))
    if turned:
        rows, columns = (int(n) for n in tensor.shape.numpy())
        places = places % rows * columns + places // rows
    where, size = weight_data.file_range(tensor), int(tensor.dtype.itemsize)
    with np.errstate(all="ignore"):
        if where is None:
            return weight_data.array(tensor).reshape(-1)[places].astype(np.float64)
        raw = b"".join(where.read(int(i) * size, size).tobytes() for i in places)
        return np.frombuffer(raw, dtype=tensor.dtype.numpy()).astype(np.float64)


def close(one: Array, other: Array, tolerance: float) -> bool:
    """Whether two samples could be of one weight: a type's own steps apart, or beyond its range."""
    bound = tolerance * np.abs(one) + tolerance * float(np.abs(one).max(initial=0.0)) * 1e-2
    with np.errstate(all="ignore"):
        near = (np.abs(one - other) <= bound) | ((one == other) | (np.isnan(one) & np.isnan(other)))
    return bool(np.mean(near) >= 0.9)


def step(dtype: ir.DataType) -> float:
    """The relative distance of neighbouring numbers of a float type."""
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype.numpy()).eps)  # type: ignore[no-untyped-call]


def between(one: ir.TensorProtocol, other: ir.TensorProtocol, turned: bool) -> Error:
    """Two float weights of any types, `other` transposed where it is `turned`; nothing but pieces are in memory of
    those that are not."""
    narrow = step(other.dtype) >= step(one.dtype)
    return total(
        (before.astype(np.float64), after.astype(np.float64), _unlike(before, after, narrow))
        for before, after in _side_by_side(one, other, turned)
    )


def total(parts: Iterator[tuple[Array, Array, int]]) -> Error:
    """The error of all pieces together; what is no number on either side counts as equal."""
    largest, difference, whole, unlike = 0.0, 0.0, 0.0, 0
    for before, after, count in parts:
        with np.errstate(all="ignore"):
            apart = np.where(np.isfinite(before) & np.isfinite(after), np.abs(before - after), 0.0)
            largest = max(largest, float(apart.max(initial=0.0)))
            difference += float(np.square(apart).sum())
            whole += float(np.square(np.where(np.isfinite(before), before, 0.0)).sum())
        unlike += count
    return Error(largest, float(np.sqrt(difference / whole)) if whole else 0.0, unlike)


def _unlike(before: Array, after: Array, narrow: bool) -> int:
    with np.errstate(all="ignore"):
        made, wanted = (before.astype(after.dtype), after) if narrow else (after.astype(before.dtype), before)
        equal = (made == wanted) | (np.isnan(made.astype(np.float32)) & np.isnan(wanted.astype(np.float32)))
    return int(made.size - np.count_nonzero(equal))


def _side_by_side(one: ir.TensorProtocol, other: ir.TensorProtocol, turned: bool) -> Iterator[tuple[Array, Array]]:
    first, second = weight_data.file_range(one), weight_data.file_range(other)
    if turned or first is None or second is None:
        array = weight_data.array(other)
        yield weight_data.array(one).reshape(-1), (array.T if turned else array).reshape(-1)
        return
    for start in range(0, one.size, PIECE):
        yield tuple(  # type: ignore[misc]
            where.read(start * size, min(PIECE, one.size - start) * size).view(dtype)
            for where, size, dtype in (
                (first, int(one.dtype.itemsize), one.dtype.numpy()),
                (second, int(other.dtype.itemsize), other.dtype.numpy()),
            )
        )


def of_arrays(before: Array, after: Array) -> Error:
    return total(iter([(before.astype(np.float64), after.astype(np.float64), 0)]))


def turns(one: Sequence[int], other: Sequence[int]) -> list[bool]:
    """How a weight of one shape could lie in another: as it is, transposed, or both."""
    found = [False] if tuple(one) == tuple(other) else []
    return found + ([True] if len(one) == 2 and tuple(one) == tuple(other)[::-1] else [])

"""Matrices that are stripes of others: queries, keys and values as one weight of one model, and three of the other."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.weights import weight_data
from onnxfix.nouns.weights.weight_data import Array

from .stored import Stored

LEAST = 1024
"""Elements of a stripe: what is smaller is found in others by chance."""


def stripes(whole: Stored, others: Iterable[Stored]) -> list[tuple[Stored, bool]]:
    """Those of the others whose numbers are rows or columns of the whole that stand together, and whether they lie
    there transposed. Nothing where they are not at least half of it."""
    fitting = [other for other in others if _fits(whole, other)]
    if not fitting:
        return []
    array = _bits(weight_data.array(whole.tensor))
    found = []
    for other in fitting:
        part = _bits(weight_data.array(other.tensor))
        turned = next((t for t in (False, True) if _lies_in(array, part.T if t else part)), None)
        if turned is not None:
            found.append((other, turned))
    enough = sum(other.tensor.size for other, _ in found) >= whole.tensor.size / 2
    return found if enough else []


def _fits(whole: Stored, other: Stored) -> bool:
    if other.dtype != whole.dtype or len(whole.shape) != 2 or len(other.shape) != 2 or other.tensor.size < LEAST:
        return False
    numeric = whole.dtype != ir.DataType.STRING and whole.dtype.itemsize >= 1
    return numeric and other.tensor.size < whole.tensor.size and bool({*whole.shape} & {*other.shape})


def _lies_in(array: Array, part: Array) -> bool:
    for rows in (True, False):
        one, other = (array, part) if rows else (array.T, part.T)
        if one.shape[1] != other.shape[1] or other.shape[0] >= one.shape[0]:
            continue
        for start in np.flatnonzero(one[: one.shape[0] - other.shape[0] + 1, 0] == other[0, 0]):
            if np.array_equal(one[start : start + other.shape[0]], other):
                return True
    return False


def _bits(array: Array) -> Array:
    """As integers, so that NaN equals itself and −0 is not 0."""
    return array.view(f"u{array.dtype.itemsize}") if array.dtype.itemsize in (1, 2, 4, 8) else array

"""Whether a part of a graph turns pairs of features by angles, and which pairs by which: found by trying."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxfix.surgery.sites.constants import Array
from onnxfix.surgery.sites.layouts.ground import Ground
from onnxfix.surgery.sites.layouts.trial import Trial

from .rotation_parts import Parts


@dataclass(frozen=True)
class Rotation:
    """The first `width` features of each head are turned, in pairs that are `interleaved` neighbours or else half of
    them apart. `cos` and `sin` have a column for each pair or, `doubled`, for each feature; `negated`: of minus the
    angle. `places`: the axes of the value along which they change."""

    cos: ir.Value
    sin: ir.Value
    width: int
    interleaved: bool
    doubled: bool
    negated: bool
    places: tuple[int, ...]


def rotation(parts: Parts, ground: Ground) -> Rotation | None:
    """Raises UntriedError where sizes are not known, or too large."""
    tables = Trial(ground, {}, elementwise=True)
    distinct = _distinct({table: tables(table) for table in parts.tables})
    if len(distinct) != 2:
        return None
    shape = ground.shape(parts.value)
    value = np.random.default_rng(1).random(shape)
    given = {parts.value: value, **{table: tables(table) for table in parts.tables}}
    result = Trial(ground, given)(parts.output)
    if result.shape != value.shape:
        return None
    for cos, sin in itertools.permutations(distinct, 2):
        found = _fitting(value, result, _aligned(given[cos], value), _aligned(given[sin], value))
        if found is not None:
            return Rotation(cos, sin, *found, _places(given[cos], given[sin], value.ndim))
    return None


def _distinct(tables: dict[ir.Value, Array]) -> list[ir.Value]:
    """Without those that hold the same as one before."""
    found: list[ir.Value] = []
    for value, array in tables.items():
        if not any(tables[other].shape == array.shape and np.array_equal(tables[other], array) for other in found):
            found.append(value)
    return found


def _aligned(table: Array, value: Array) -> Array:
    return table.reshape((1,) * (value.ndim - table.ndim) + table.shape) if table.ndim <= value.ndim else table


def _places(cos: Array, sin: Array, rank: int) -> tuple[int, ...]:
    shapes = [(1,) * (rank - table.ndim) + table.shape for table in (cos, sin)]
    return tuple(i for i in range(rank - 1) if max(shape[i] for shape in shapes) > 1)


def _fitting(value: Array, result: Array, cos: Array, sin: Array) -> tuple[int, bool, bool, bool] | None:
    """Width, interleaved, doubled and negated of the rotation that the result is."""
    size, columns = value.shape[-1], cos.shape[-1]
    if sin.shape[-1] != columns or columns < 1 or not all(_repeats(table, value) for table in (cos, sin)):
        return None
    for doubled, interleaved in itertools.product((True, False), (False, True)):
        width = columns if doubled else 2 * columns
        if width % 2 or width > size:
            continue
        halves = [_pairs(t, interleaved=interleaved)[0] if doubled else t for t in (cos, sin)]
        for negated in (False, True):
            sines = -halves[1] if negated else halves[1]
            if _agree(value, result, halves[0], sines, width, interleaved):
                return width, interleaved, doubled, negated
    return None


def _repeats(table: Array, value: Array) -> bool:
    """Whether a table goes with all but the features of a value."""
    pairs = zip(table.shape[:-1], value.shape[:-1], strict=True) if table.ndim == value.ndim else [(0, 1)]
    return all(size in (1, whole) for size, whole in pairs)


def _agree(value: Array, result: Array, cos: Array, sin: Array, width: int, interleaved: bool) -> bool:
    """Whether the first features are turned and the others as they were: in one place, then in all."""
    for part in (-1, slice(None)):
        places = (part,) * (value.ndim - 1)
        one, other = value[places], result[places]
        tables = [np.broadcast_to(t, (*value.shape[:-1], t.shape[-1]))[places] for t in (cos, sin)]
        turned = _turned(one[..., :width], tables[0], tables[1], interleaved)
        if not np.allclose(turned, other[..., :width], rtol=1e-9, atol=1e-9):
            return False
    return np.array_equal(value[..., width:], result[..., width:])


def _pairs(array: Array, *, interleaved: bool) -> tuple[Array, Array]:
    half = array.shape[-1] // 2
    return (array[..., 0::2], array[..., 1::2]) if interleaved else (array[..., :half], array[..., half:])


def _turned(value: Array, cos: Array, sin: Array, interleaved: bool) -> Array:
    one, other = _pairs(value, interleaved=interleaved)
    pair = one * cos - other * sin, other * cos + one * sin
    return np.stack(pair, axis=-1).reshape(value.shape) if interleaved else np.concatenate(pair, axis=-1)

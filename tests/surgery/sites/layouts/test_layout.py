"""Layouts against numpy: each tells where every element of a view stands, or that it cannot."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from onnxfix.surgery.sites.layouts.layout import Layout


def places(layout: Layout) -> np.ndarray:
    """The place of each element of a view, from its sizes and strides alone."""
    axes = []
    for axis in layout.axes:
        steps = [np.arange(size) * stride for size, stride in axis]
        axes.append(np.array([sum(each) for each in itertools.product(*steps)], dtype=np.int64))
    found = np.zeros(layout.shape, np.int64) + layout.offset
    for i, steps in enumerate(axes):
        found = found + steps.reshape((-1,) + (1,) * (len(axes) - i - 1))
    return found


def shapes_of(count: int, generator: random.Random) -> list[int]:
    """A few factors of a number in some order, ones among them."""
    factors, left = [], count
    while left > 1:
        part = generator.choice([d for d in range(2, left + 1) if left % d == 0])
        factors.append(part)
        left //= part
    factors += [1] * generator.randrange(2)
    generator.shuffle(factors)
    return factors or [1]


def step(layout: Layout, array: np.ndarray, generator: random.Random) -> tuple[Layout | None, np.ndarray]:
    axis = generator.randrange(array.ndim)
    match generator.choice(["transpose", "reshape", "slice", "expand", "tile"]):
        case "transpose":
            perm = generator.sample(range(array.ndim), array.ndim)
            return layout.transposed(perm), array.transpose(perm)
        case "reshape":
            shape = shapes_of(array.size, generator)
            return layout.reshaped(shape), array.reshape(shape)
        case "slice":
            start = generator.randrange(array.shape[axis])
            size, stride = generator.randint(1, array.shape[axis] - start), generator.randint(1, 2)
            taken = np.take(array, range(start, start + size, stride), axis=axis)
            return layout.sliced(axis, start, taken.shape[axis], stride), taken
        case "expand" if array.size < 500:
            shape = (2, *(n if n > 1 else 3 for n in array.shape))
            return layout.expanded(shape), np.broadcast_to(array, shape)
        case "tile" if array.size < 500:
            times = [2 if i == axis else 1 for i in range(array.ndim)]
            return layout.tiled(times), np.tile(array, times)
    return layout, array


@pytest.mark.parametrize("seed", range(60))
def test_every_element_stands_where_numpy_has_it(seed: int) -> None:
    generator = random.Random(seed)
    shape = [generator.choice([1, 2, 3, 4, 5]) for _ in range(generator.randint(2, 4))]
    array, told = np.arange(math.prod(shape)).reshape(shape), 0
    layout: Layout | None = Layout.of(shape)
    for _ in range(8):
        assert layout is not None
        moved, array = step(layout, array, generator)
        if moved is None:
            break
        layout, told = moved, told + 1
        assert layout.shape == array.shape
        assert np.array_equal(places(layout), array)
        assert layout.contiguous == np.array_equal(array.reshape(-1), np.arange(array.size))
    assert told or shape


def test_most_steps_can_be_told() -> None:
    """Else the test above would prove nothing."""
    generator, told, all_steps = random.Random(0), 0, 0
    for _ in range(300):
        layout, array = Layout.of((2, 3, 4)), np.arange(24).reshape(2, 3, 4)
        for _ in range(3):
            moved, array = step(layout, array, generator)
            all_steps, told = all_steps + 1, told + (moved is not None)
            if moved is None:
                break
            layout = moved
    assert told > 0.85 * all_steps


def test_heads_and_positions_of_one_number_are_not_one() -> None:
    """[batch, 4, 4 · 8] with four positions and four heads: both views have one shape."""
    tokens = Layout.of((2, 4, 32))
    apart = tokens.reshaped((2, 4, 4, 8))
    assert apart is not None
    assert apart.shape == apart.transposed((0, 2, 1, 3)).shape
    assert apart != apart.transposed((0, 2, 1, 3))
    assert apart.transposed((0, 2, 1, 3)).transposed((0, 2, 1, 3)).contiguous


def test_a_reshape_across_axes_that_were_turned_cannot_be_told() -> None:
    turned = Layout.of((2, 3)).transposed((1, 0))
    assert turned.reshaped((2, 3)) is None
    assert turned.reshaped((3, 1, 2)) == Layout((*turned.axes[:1], (), *turned.axes[1:]))


def test_repeats_are_seen() -> None:
    """Two heads of keys, each for three of queries: neighbours, not in turn."""
    keys = Layout.of((1, 2, 5, 8))
    expanded = keys.reshaped((1, 2, 1, 5, 8))
    assert expanded is not None
    repeated = expanded.expanded((1, 2, 3, 5, 8)).reshaped((1, 6, 5, 8))
    assert repeated is not None and repeated.axes[1] == ((2, 40), (3, 0))
    assert keys.tiled((1, 3, 1, 1)).axes[1] == ((3, 0), (2, 40))

"""A layout: where each element of a view stands in the value that it is a view of, as sizes and strides.

Transposes, reshapes, expansions and slices of known sizes are arithmetic on these pairs, so that two ways to write a
view are the same view exactly if their layouts are equal; no sequence of operators is matched anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Digit: TypeAlias = tuple[int, int]
"""Size and stride, the latter 0 where elements are repeated."""
Axis: TypeAlias = tuple[Digit, ...]
"""What an axis runs over, outermost first; empty for one of size 1."""


def merged(digits: Iterable[Digit]) -> Axis:
    """Without digits of size 1, and each with the next where the two are steps of one walk."""
    found: list[Digit] = []
    for size, stride in digits:
        if size == 1:
            continue
        if found and found[-1][1] == size * stride:
            found[-1] = (found[-1][0] * size, stride)
        else:
            found.append((size, stride))
    return tuple(found)


@dataclass(frozen=True)
class Layout:
    """The axes of a view, and the place of its first element."""

    axes: tuple[Axis, ...]
    offset: int = 0

    @classmethod
    def of(cls, shape: Sequence[int]) -> Layout:
        """A value as it stands in memory, last axis innermost."""
        return cls(tuple(merged([(size, math.prod(shape[i + 1 :]))]) for i, size in enumerate(shape)))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(math.prod(size for size, _ in axis) for axis in self.axes)

    @property
    def flat(self) -> Axis:
        return merged(digit for axis in self.axes for digit in axis)

    @property
    def contiguous(self) -> bool:
        """Whether the elements come in the order in which they stand, from the first on without a gap."""
        return self.offset == 0 and self.flat in ((), ((math.prod(self.shape), 1),))

    def transposed(self, perm: Sequence[int]) -> Layout:
        return Layout(tuple(self.axes[i] for i in perm), self.offset)

    def reshaped(self, shape: Sequence[int]) -> Layout | None:
        """None where an axis would run over parts of two that are not steps of one walk."""
        left, axes = list(self.flat), list[Axis]()
        for wanted in reversed(shape):
            axis: list[Digit] = []
            while wanted > 1 and left:
                size, stride = left.pop()
                part = math.gcd(size, wanted)
                if part != size and part != wanted:
                    return None
                if part < size:
                    left.append((size // part, stride * part))
                axis.insert(0, (part, stride))
                wanted //= part
            if wanted != 1:
                return None
            axes.insert(0, merged(axis))
        return None if left else Layout(tuple(axes), self.offset)

    def expanded(self, shape: Sequence[int]) -> Layout:
        """As a product or an Expand repeats axes of size 1."""
        axes = (((),) * (len(shape) - len(self.axes)) + self.axes)[-len(shape) :]
        repeated = (((n, 0),) if n > 1 and not axis else axis for axis, n in zip(axes, shape, strict=True))
        return Layout(tuple(repeated), self.offset)

    def tiled(self, times: Sequence[int]) -> Layout:
        pairs = zip(self.axes, times, strict=True)
        return Layout(tuple(merged(((n, 0), *axis)) for axis, n in pairs), self.offset)

    def sliced(self, axis: int, start: int, size: int, step: int = 1) -> Layout | None:
        """None where the part is not a walk of its own."""
        found = _part(self.axes[axis], start, size, step)
        if found is None:
            return None
        part, offset = found
        return Layout((*self.axes[:axis], part, *self.axes[axis + 1 :]), self.offset + offset)

    def without(self, axis: int) -> Layout:
        """Without an axis of size 1."""
        return Layout((*self.axes[:axis], *self.axes[axis + 1 :]), self.offset)


def _part(axis: Axis, start: int, size: int, step: int) -> tuple[Axis, int] | None:
    if len(axis) < 2:
        stride = axis[0][1] if axis else 0
        return merged([(size, stride * step)]), start * stride
    (_, stride), inner = axis[0], math.prod(n for n, _ in axis[1:])
    if step == 1 and start % inner == 0 and size % inner == 0:
        return merged([(size // inner, stride), *axis[1:]]), start // inner * stride
    if start // inner == (start + (size - 1) * step) // inner:
        found = _part(axis[1:], start % inner, size, step)
        return None if found is None else (found[0], found[1] + start // inner * stride)
    return None

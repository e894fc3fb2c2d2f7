"""Outputs of batches, taken apart into those of rows: which axis is that of rows, and which are of tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxfix.nouns.errors import OnnxfixError

from .batches import Rows
from .interface import Interface

Array = NDArray[Any]
Output = Array | list[Array]
"""(rows, …) of what is of a row; an array a row, cut to its own length, of what is of tokens."""
Ask = Callable[[int, int], Mapping[str, Array]]
"""Runs the model on so many rows of so many tokens."""
# Numbers of rows and of tokens that are asked for where names do not tell: two of each, and no product of two alike.
_ROWS, _LENGTHS = (2, 3), (5, 7)


@dataclass(frozen=True)
class Axes:
    """Of one output. `shape`: sizes of the axes, 0 where they are not known; `kind`: its type."""

    rows: int
    tokens: tuple[int, ...]
    shape: tuple[int, ...]
    kind: np.dtype[Any]

    def moved(self) -> tuple[int, ...]:
        """Token axes where that of rows is the first and gone."""
        return tuple(axis - (axis > self.rows) for axis in self.tokens)


def axes_of(names: Sequence[str], interface: Interface, ask: Ask) -> dict[str, Axes]:
    """Of each output: by the names of its axes where each has one of the inputs' or a number, else by running the model
    at two sizes. Raises OnnxfixError for an output that cannot be taken apart."""
    found = {name: axes for name in names if (axes := _declared(name, interface)) is not None}
    if len(found) == len(names):
        return found
    sizes = [(interface.rows or rows, interface.length or length) for rows, length in zip(_ROWS, _LENGTHS, strict=True)]
    answers = [ask(*size) for size in sizes]
    return {name: found.get(name) or _measured(name, answers, sizes, interface) for name in names}


def _declared(name: str, interface: Interface) -> Axes | None:
    sizes, (rows, tokens) = interface.declared.get(name, ()), interface.names
    if not rows or not tokens or rows == tokens or not sizes or sizes.count(rows) != 1:
        return None
    if any(isinstance(size, str) and size not in (rows, tokens) for size in sizes):
        return None
    shape = tuple(size if isinstance(size, int) else 0 for size in sizes)
    places = tuple(at for at, size in enumerate(sizes) if size == tokens)
    return Axes(list(sizes).index(rows), places, shape, interface.kinds[name])


def _measured(
    name: str, answers: Sequence[Mapping[str, Array]], sizes: Sequence[tuple[int, int]], interface: Interface
) -> Axes:
    shapes = [answer[name].shape for answer in answers]
    pairs = list(zip(*shapes, strict=True)) if len({len(shape) for shape in shapes}) == 1 else []
    rows, lengths = (tuple(size[i] for size in sizes) for i in (0, 1))
    ours = [at for at, pair in enumerate(pairs) if pair == rows]
    tokens = [at for at, pair in enumerate(pairs) if pair == lengths and at not in ours[:1]]
    if interface.length:  # features may be as many: tokens are next to rows, and have features behind them
        tokens = [at for at in tokens if at == 1 and len(pairs) > 2]
    other = [at for at, pair in enumerate(pairs) if len(set(pair)) > 1 and at not in (*ours, *tokens)]
    if not ours or other:
        raise OnnxfixError(
            f"the output '{name}' cannot be divided among rows: its shape is {' and '.join(map(str, shapes))} for "
            f"{' and '.join(f'{r} × {n} tokens' for r, n in sizes)}",
            "leave it out with outputs=[…], the names of the others",
        )
    shape = tuple(a if a == b else 0 for a, b in pairs)
    return Axes(ours[0], tuple(tokens), shape, answers[0][name].dtype)


class Collected:
    """Outputs of all rows, filled batch by batch."""

    def __init__(self, axes: Mapping[str, Axes], lengths: Sequence[int], left: bool) -> None:
        self._axes, self._lengths, self._left = axes, lengths, left
        self._found: dict[str, Any] = {name: [None] * len(lengths) for name in axes}

    def add(self, rows: Rows, answer: Mapping[str, Array], size: tuple[int, ...]) -> None:
        """The outputs of a batch of these rows; further ones in it are repetitions. `size`: rows and tokens that the
        model was given. Raises OnnxfixError for outputs of other sizes."""
        for name, axes in self._axes.items():
            _check(name, answer[name], axes, size)
            batch = np.moveaxis(answer[name], axes.rows, 0)
            for at, row in enumerate(rows):
                self._found[name][row] = self._cut(batch[at], axes, self._lengths[row])

    def outputs(self) -> dict[str, Output]:
        """By name."""
        return {name: found if self._axes[name].tokens else _stacked(found, self._axes[name])
                for name, found in self._found.items()}  # fmt: skip

    def _cut(self, row: Array, axes: Axes, length: int) -> Array:
        if not axes.tokens:
            return row
        own = slice(-length, None) if self._left else slice(length)
        taken = tuple(own if axis in axes.moved() else slice(None) for axis in range(row.ndim))
        return row[taken].copy()  # a view would keep the padding of the whole batch


def _check(name: str, batch: Array, axes: Axes, size: tuple[int, ...]) -> None:
    """What a file declares of its outputs is not always true."""
    alike = batch.ndim == len(axes.shape) and batch.shape[axes.rows] == size[0]
    if not alike or any(batch.shape[axis] != size[1] for axis in axes.tokens):
        raise OnnxfixError(
            f"the output '{name}' is of shape {batch.shape} for {size[0]} × {size[1]} tokens, which the file denies",
            "leave it out with outputs=[…], the names of the others",
        )


def _stacked(found: Sequence[Array], axes: Axes) -> Array:
    return np.stack(found) if found else np.zeros((0, *np.delete(axes.shape, axes.rows)), axes.kind)

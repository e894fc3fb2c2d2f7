"""Packed runner: a model that takes packed tokens, run on batches of rows with a mask as any other is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxfix.surgery.sites.tokens.packed.interface import ENDS, PLACES, PackedInterface

from .runners import Array, RunFailure, Runner

Real = NDArray[np.bool_]
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


@dataclass(frozen=True)
class Packer:
    """`mask`: the input of feeds, [rows, length], by which `shown` says which tokens are real; the model has none such.

    `filled` adds tokens and rows of nobody, behind a batch's own, so that there are fewer sizes.
    """

    interface: PackedInterface
    mask: str
    name: str
    shown: Callable[[Array], Real] = lambda mask: mask != 0
    filled: Callable[[Real], Real] = lambda real: real

    def real(self, feed: Mapping[str, Array]) -> Real:
        """Which tokens are. Raises RunFailure for rows that do not begin with theirs."""
        if self.mask not in feed:
            raise RunFailure(f"{self.name} takes packed tokens, and the feed has no mask '{self.mask}' to pack by")
        real = self.shown(feed[self.mask])
        if not is_from_the_left(real):
            raise RunFailure(f"{self.name} takes rows from their first token on, and '{self.mask}' hides one before")
        return real

    def packed(self, feed: Mapping[str, Array], real: Real) -> dict[str, Array]:
        """The feed as the model takes it."""
        some = real if real.any() else _first_of(real)  # as a graph that packs by its mask does
        whole = self.filled(some)
        made = {name: array for name, array in feed.items() if name != self.mask}
        for name in self.interface.inputs:
            tokens = made[name][some]
            more = np.zeros((int(whole.sum()) - len(tokens), *tokens.shape[1:]), tokens.dtype)
            made[name] = np.concatenate([tokens, more])
        return made | where(whole)

    def run(self, feed: Mapping[str, Array], run: Run) -> dict[str, Array]:
        """What the model makes of a batch, by what runs it on packed tokens."""
        real = self.real(feed)
        return self.of_rows(run(self.packed(feed, real)), real)

    def of_rows(self, answer: Mapping[str, Array], real: Real) -> dict[str, Array]:
        """Outputs of tokens as [rows, length, …], 0 at padding; of all others the batch's own rows and length."""
        return {name: self._of_rows(name, array, real) for name, array in answer.items()}

    def _of_rows(self, name: str, array: Array, real: Real) -> Array:
        if name not in self.interface.outputs:
            own = {self.interface.rows: slice(real.shape[0]), self.interface.length: slice(real.shape[1])}
            return array[tuple(own.get(axis, slice(None)) for axis in self.interface.axes.get(name, ()))]
        made: NDArray[Any] = np.zeros((*real.shape, *array.shape[1:]), array.dtype)
        made[real] = array[: int(real.sum())]
        return made


class PackedRunner:
    """Runs such a model through another runner."""

    def __init__(self, runner: Runner, packer: Packer) -> None:
        self.name, self.output_names = runner.name, runner.output_names
        self._runner, self._packer = runner, packer

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Raises RunFailure, also for rows that do not begin with their tokens."""
        return self._packer.run(feed, self._runner.run)

    def prepared(self, feed: Mapping[str, Array]) -> Callable[[], object]:
        return self._runner.prepared(self._packer.packed(feed, self._packer.real(feed)))

    def close(self) -> None:
        self._runner.close()


def where(real: Real) -> dict[str, Array]:
    """The inputs that say where the tokens of a batch are."""
    ends = np.concatenate([[0], np.cumsum(real.sum(axis=1))])
    places = np.argsort(~real.reshape(-1), kind="stable").reshape(real.shape)
    return {ENDS: ends.astype(np.int32), PLACES: places.astype(np.int32)}


def is_from_the_left(real: Real) -> bool:
    """Whether no token stands behind one of padding."""
    return not bool((~real[:, :-1] & real[:, 1:]).any())


def _first_of(real: Real) -> Real:
    first = np.zeros_like(real)
    first[:1, :1] = True
    return first

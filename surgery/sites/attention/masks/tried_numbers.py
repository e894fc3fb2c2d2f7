"""Which numbers other than 0 and 1 a padding input is tried with, of all that its type holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from onnxfix.surgery.sites.constants import Array

from .computed import lengths
from .computed.observing import Observer

FIRST = (1, 2, 3)
_SIGNS = (1, -1, 2), (1, -1, -2)
_ENDLESS = 1 << 30
_AT_ONCE, _MOST = 6, 36
"""Further numbers of one try beside the first, which few keys hold, and of all."""


def whole(observer: Observer, source: ir.Value, keys: int) -> Iterator[Array]:
    """[keys], above 0: in two runs, in three, and without order, the last with those that the mask is computed with and
    their neighbours."""
    place = np.arange(keys)
    yield 1 + place * 2 // keys
    yield 1 + place * 3 // keys
    yield _mixed(FIRST, keys)
    yield _mixed(FIRST[1:], keys)
    known = (int(number) for number in lengths.scalars(observer, "iuf") if number <= _largest(source))
    own = {near for number in known for near in (number - 1, number, number + 1)}
    held = sorted(n for n in own if max(FIRST) < n <= _largest(source))[:_MOST]
    for begin in range(0, len(held), _AT_ONCE):
        yield _mixed((*FIRST, *held[begin : begin + _AT_ONCE]), keys)


def below_zero(keys: int) -> Iterator[Array]:
    """[keys], also beside numbers above 1, which arithmetic says nothing of."""
    return (_mixed(numbers, keys) for numbers in _SIGNS)


def fractions(observer: Observer, keys: int) -> Iterator[Array]:
    """[keys], between 0 and 1: half, and to both sides of what the mask is computed with."""
    yield _mixed((1, 0.5), keys)
    own = sorted(c for c in lengths.scalars(observer, "f") if 0 < c < 1)[:_MOST]
    for number in own:
        yield _mixed((1, number / 2, (1 + number) / 2), keys)


def _mixed(numbers: Sequence[float], keys: int) -> Array:
    made = np.resize(numbers, keys)
    np.random.default_rng(keys).shuffle(made)
    return made


def _largest(source: ir.Value) -> int:
    """That its type counts to by ones; ends of slices, which are no numbers of tokens, are far beyond."""
    assert source.dtype is not None
    if source.dtype.is_integer():
        return min(int(2 ** (source.dtype.bitwidth - source.dtype.is_signed())) - 1, _ENDLESS)
    return 1 << (8 if source.dtype.bitwidth < 32 else 24)

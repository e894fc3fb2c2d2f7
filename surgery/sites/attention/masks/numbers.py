"""What numbers other than 0 and 1 say in a padding input: nothing more, padding as well, or what belongs together.

An integer mask may number the texts of a row, each of which sees itself, or tell tokens that see everything: 0 and 1 do
not show it, and a mask of padding hides none of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.input_roles import role
from onnxfix.surgery.sites.constants import Array

from . import rows
from .computed import lengths, samples
from .computed.observed import Observed
from .computed.observing import HIDDEN, Observer
from .mask import NotComputedError, RefusedError
from .seen import Fit

_FIRST = (1, 2, 3)
_MOST, _LARGEST = 6, 100
"""Of further numbers, beside those that the mask is computed with; int8 takes them."""


def only_ones(observer: Observer, observed: Sequence[Observed], found: Fit) -> bool:
    """Whether a key is hidden that has any number but 1; False where every number but 0 is as good. Raises RefusedError
    where who sees whom depends on numbers in any other way."""
    source = next(value for value in observer.cone.sources if role(value) != "position")
    if not _is_number(source) or observer.inverted:
        return False
    each = max(filter(_is_of_text, rows.small(observed)), key=lambda each: each.sample.mask.shape[1], default=None)
    if each is None:
        return False
    some = every = True
    for numbers in _numbered(observer, each.sample.mask.shape[1]):
        made = _made(observer, each, numbers)
        if made is None:  # a table of two rows, say
            continue
        if _is_raised(made, each, numbers):
            return False
        some, every = some and _is_shown(made, found, numbers == 1), every and _are_shown(made, found, numbers)
        if not some and not every:
            raise RefusedError(observer.node, _reason(source, made, found, numbers))
    if every and found.positions != "count" and _is_signed(source):
        _require_signs(observer, source, each, found)
    return not every


def _is_number(source: ir.Value) -> bool:
    return source.dtype is not None and (source.dtype.is_integer() or source.dtype.is_floating_point())


def _is_signed(source: ir.Value) -> bool:
    return source.dtype is not None and source.dtype.is_signed()


def _is_of_text(each: Observed) -> bool:
    """Nothing is padding, and keys are the tokens that the input speaks of."""
    point = each.sample.point
    return bool(each.sample.mask.all()) and each.sample.mask.shape == (point.batch, point.length + point.past)


def _numbered(observer: Observer, keys: int) -> Iterator[Array]:
    """Numbers of all keys: in two runs, in three, and without order, the last with those around the mask's own."""
    place = np.arange(keys)
    yield 1 + place * 2 // keys
    yield 1 + place * 3 // keys
    own = sorted({n for c in lengths.numbers(observer) for n in (c, c + 1) if max(_FIRST) < n < _LARGEST})[:_MOST]
    for numbers in (_FIRST, _FIRST[1:], (*_FIRST, *own)):
        rng = np.random.default_rng(keys)
        mixed = np.resize(numbers, keys)
        rng.shuffle(mixed)
        yield mixed


def _made(observer: Observer, each: Observed, numbers: Array) -> Observed | None:
    with contextlib.suppress(NotComputedError):
        return observer.observe(samples.numbered(each.sample, numbers))
    return None


def _as(made: Observed, real: Array) -> Observed:
    """The same with a padding of 0 and 1 in the place of numbers."""
    return replace(made, sample=samples.numbered(made.sample, real.astype(np.int64)))


def _are_shown(made: Observed, found: Fit, numbers: Array) -> bool:
    """Whether each number is as good as 1. Where tokens are counted, one of number 2 may count for two."""
    seen = made.seen[:, 0]
    return np.array_equal(seen, found.predicted(_as(made, numbers != 0))) or (
        found.positions == "count" and np.array_equal(seen, found.predicted(made))
    )


def _is_shown(made: Observed, found: Fit, real: Array) -> bool:
    """Whether what is not real is as padding: no real query sees it, and what it sees itself is no choice of keys."""
    seen, padding = made.seen[:, 0], _as(made, real)
    predicted = found.predicted(padding)
    alike = (seen == predicted).all(axis=-1)
    plain = seen.all(axis=-1) | ~seen.any(axis=-1) | (seen == found.predicted(_as(made, real | True))).all(axis=-1)
    return bool((alike | (plain & ~padding.valid)).all())


def _is_raised(made: Observed, each: Observed, numbers: Array) -> bool:
    """Whether as much is added to scores of keys of number 2 as is taken from those of number 0: arithmetic, as
    (1 - mask) * -10,000, in which numbers other than 0 and 1 mean nothing, and what else hides may not hide them."""
    entries = np.broadcast_to(each.seen & (numbers > 1), made.scores.shape)
    with np.errstate(invalid="ignore"):  # infinity for both is no number more
        return bool(entries.any() and (made.scores[entries] - each.scores[entries] >= -HIDDEN).all())


def _require_signs(observer: Observer, source: ir.Value, each: Observed, found: Fit) -> None:
    """Numbers below 0 may be shown or hidden, either way to all, or be none that the mask can be computed of."""
    numbers = np.resize((1, -1, 2), each.sample.mask.shape[1])
    try:
        made = observer.observe(samples.numbered(each.sample, numbers))
    except RefusedError:  # a logarithm
        return
    if not _are_shown(made, found, numbers) and not _is_shown(made, found, numbers > 0):
        raise RefusedError(observer.node, _reason(source, made, found, numbers))


def _reason(source: ir.Value, made: Observed, found: Fit, numbers: Array) -> str:
    seen, all_seen = made.seen[:, 0], found.predicted(_as(made, numbers != 0))
    own = np.ones(len(made.rows), np.int64) if made.free else numbers[made.rows]
    if np.array_equal(seen, all_seen & (numbers[None, :] == own[:, None])):
        return f"separates the texts that {source.name} numbers"
    changed = np.argwhere(seen != all_seen)
    apart = [sorted((int(own[at]), int(numbers[key]))) for _, at, key in changed.tolist()]
    apart += [[1, int(numbers.max())]]  # where others were hidden, and these are not
    one, other = next((pair for pair in apart if pair[0] != pair[1]), apart[0])
    return f"tells tokens of number {one} and {other} apart ({source.name})"

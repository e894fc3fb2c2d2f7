"""At which lengths a mask is computed: where windows that its numbers and tables speak of are overstepped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

from onnxfix.nouns.types.input_roles import role
from onnxfix.surgery.sites.constants import constant_tensor, small_array

from ..mask import NotComputedError
from . import growth, samples
from .observed import Observed
from .observing import Observer
from .samples import DOUBLED, FIRST_LENGTHS, LONGEST, MARGIN

_MOST_ENTRIES = 1 << 26
"""Of all heads: 256 MB in fp32."""
_SHORTEST_TABLE = 8
_MOST_TABLES = 6
_ENDLESS = 1 << 30
"""What ends of slices and the like are given as; no text is as long."""


def observed(observer: Observer, padded: bool) -> list[Observed]:
    """Small samples, then longer ones up to what the mask can be computed for, which a stored triangle limits. Raises
    NotComputedError where that is nothing."""
    found: list[Observed] = []
    failure: NotComputedError | None = None
    for sample in samples.first(observer.grid, padded):
        try:
            found.append(observer.observe(sample))
        except NotComputedError as error:
            failure = error
    tables = _tables(observer)
    doubled = DOUBLED if observer.elementwise else DOUBLED[:-1]  # scores of all heads take their time
    wanted = {*doubled, *tables, *(n + MARGIN for n in numbers(observer) if n > FIRST_LENGTHS[-1])}
    few, many = ([n for n in sorted(wanted) if (n > DOUBLED[-1]) == long] for long in (False, True))
    found += _each(observer, few, padded, found, stop=failure is None)
    found += _uneven(observer, FIRST_LENGTHS[-2:])
    found += _each(observer, many, False, found)  # holes come where a limit was found: each takes seconds
    if not found and failure is not None:
        raise failure
    return found


def beyond(observer: Observer, padded: bool, reach: int, found: Sequence[Observed]) -> list[Observed]:
    """More samples at two lengths beyond a limit of distances, or as far as can be tried."""
    wanted = sorted({min(2 * reach + 9, LONGEST), min(3 * reach + 9, DOUBLED[-1])})
    return _each(observer, wanted, padded, found) + _uneven(observer, [n for n in wanted if n <= DOUBLED[-1]])


def _uneven(observer: Observer, lengths: Iterable[int]) -> list[Observed]:
    """Where a position input is read: numbers that rise by one are indices to any mask."""
    made: list[Observed] = []
    for length in lengths if any(role(value) == "position" for value in observer.cone.sources) else ():
        with contextlib.suppress(NotComputedError):
            made += [observer.observe(sample) for sample in samples.uneven(observer.grid, length)]
    return made


def _each(
    observer: Observer, lengths: Iterable[int], padded: bool, found: Sequence[Observed], stop: bool = True
) -> list[Observed]:
    """`stop`: at the first length that cannot be computed, as all longer ones will not be either."""
    made: list[Observed] = []
    heads = max((each.scores.shape[1] for each in found), default=1)
    for length in lengths:
        if length > LONGEST or heads * length**2 > _MOST_ENTRIES:
            break
        try:
            made += [observer.observe(sample) for sample in samples.longer(observer.grid, length, padded)]
        except NotComputedError:
            if stop:
                break
    return made


def untried(observer: Observer, longest: int, limited: bool) -> int | None:
    """The smallest distance from which the mask may hide keys, and which no length reached: a whole number that it is
    computed with, or the next one, where places are compared otherwise. `limited`: whether what lies farther is hidden
    already, or no matter."""
    if not observer.grid.has_length:
        return None
    beyond = [int(number) for number in scalars(observer, "iu") if longest < number < _ENDLESS]
    beyond += [longest + 1] if not limited and growth.may_limit(observer.cone, longest) else []
    return min(beyond, default=None)


def numbers(observer: Observer) -> set[int]:
    """Lengths that may be limits of distances."""
    return {int(number) for number in scalars(observer, "iuf") if number <= LONGEST}


def scalars(observer: Observer, kinds: str) -> set[float]:
    """Magnitudes of the single numbers that the mask is computed with."""
    arrays = (small_array(value, limit=1) for value in observer.cone.constants)
    return {abs(float(a.reshape(-1)[0])) for a in arrays if a is not None and a.size and a.dtype.kind in kinds}


def _tables(observer: Observer) -> list[int]:
    """Sides of the tables that it is read from."""
    tensors = (constant_tensor(value) for value in observer.cone.constants)
    sides = {int(side) for tensor in tensors if tensor is not None and len(tensor.shape) > 1
             for side in tensor.shape.numpy() if _SHORTEST_TABLE <= side <= LONGEST}  # fmt: skip
    return sorted(sides)[-_MOST_TABLES:]

"""What numbers other than 0 and 1 say in a padding input: nothing more, padding as well, or what belongs together.

A mask may number the texts of a row, each of which sees itself, tell tokens that see everything, or weigh them: 0 and 1
do not show it, and a mask of padding hides none of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.input_roles import role
from onnxfix.surgery.sites.constants import Array

from . import rows, tried_numbers, ways
from .computed import samples
from .computed.observed import Observed
from .computed.observing import Observer
from .mask import NotComputedError, RefusedError, Shown
from .seen import Fit

_NO_WEIGHT = -104.0  # exp of it is 0 in fp32; what is raised by as much leaves none to others
_SAME = 1e-3


def shown(observer: Observer, observed: Sequence[Observed], found: Fit) -> Shown:
    """Which numbers a key is seen by: the first way that holds of all that were tried. Raises RefusedError where who
    sees whom depends on numbers in any other way."""
    source = next(value for value in observer.cone.sources if role(value) != "position")
    each = max(filter(_is_of_text, rows.small(observed)), key=lambda each: each.sample.mask.shape[1], default=None)
    if not _is_number(source) or observer.inverted or each is None:
        return ways.ALL[0]
    return _Tried(observer, source, each, found).way()


def _is_number(source: ir.Value) -> bool:
    return source.dtype is not None and (source.dtype.is_integer() or source.dtype.is_floating_point())


def _is_of_text(each: Observed) -> bool:
    """Nothing is padding, and keys are the tokens that the input speaks of."""
    point = each.sample.point
    return bool(each.sample.mask.all()) and each.sample.mask.shape == (point.batch, point.length + point.past)


@dataclass(frozen=True)
class _Tried:
    """Numbers in the place of the 1 of `each`, in which all is shown."""

    observer: Observer
    source: ir.Value
    each: Observed
    found: Fit

    def way(self) -> Shown:
        assert self.source.dtype is not None
        keys, left, arithmetic = self.each.sample.mask.shape[1], list(ways.ALL), False
        for numbers in tried_numbers.whole(self.observer, self.source, keys):
            made = self._made(numbers)
            if made is not None and (arithmetic := self._is_raised(made, numbers)):
                break
            left = self._narrowed(left, made, numbers)
        if self.found.positions != "count" and self.source.dtype.is_signed():
            for numbers in tried_numbers.below_zero(keys):
                made = None
                with contextlib.suppress(RefusedError):  # a logarithm, of which there is none
                    made = self._made(numbers)
                left = self._narrowed(left, made, numbers, lenient=arithmetic)
        if self.source.dtype.is_floating_point():
            for numbers in tried_numbers.fractions(self.observer, keys):
                left = self._narrowed(left, self._weighed(numbers), numbers, lenient=arithmetic)
        return left[0]

    def _made(self, numbers: Array) -> Observed | None:
        """None where the mask cannot be computed of them, as by a table of two rows."""
        with contextlib.suppress(NotComputedError):
            return self.observer.observe(samples.numbered(self.each.sample, numbers))
        return None

    def _is_raised(self, made: Observed, numbers: Array) -> bool:
        """Whether so much is added to scores of keys of number 2 that no others count: arithmetic, as in
        (1 - mask) * -10,000, in which numbers other than 0 and 1 mean nothing. Raises RefusedError where less is."""
        entries = np.broadcast_to(self.each.seen & made.seen & (numbers > 1), made.scores.shape)
        more = self._gained(made)[entries]
        if more.size and (more >= -_NO_WEIGHT).all():
            return True
        if self.found.positions != "count" and (np.abs(more) > _SAME).any():  # a bias of counts is of other counts
            raise RefusedError(self.observer.node, f"weighs tokens by their numbers ({self.source.name})")
        return False

    def _weighed(self, numbers: Array) -> Observed | None:
        """The same of fractions, in which a key without weight is hidden. Raises RefusedError where a key has a part of
        one."""
        made = self._made(numbers)
        if made is None:
            return None
        gained = self._gained(made)
        seen = made.seen & (gained > _NO_WEIGHT).all(axis=1, keepdims=True)
        if (np.abs(gained)[np.broadcast_to(seen, gained.shape)] > _SAME).any():
            raise RefusedError(self.observer.node, f"weighs tokens by numbers between 0 and 1 ({self.source.name})")
        return replace(made, seen=seen)

    def _gained(self, made: Observed) -> Array:
        """Scores beyond those that all keys have where each has a 1."""
        with np.errstate(invalid="ignore"):  # infinity for both is no number more
            gained: Array = np.nan_to_num(made.scores - self.each.scores, nan=0.0)
        return gained

    def _narrowed(
        self, left: list[Shown], made: Observed | None, numbers: Array, *, lenient: bool = False
    ) -> list[Shown]:
        """The ways that hold of these numbers as well. `lenient`: where none does, the numbers mean nothing."""
        if made is None:
            return left
        kept = [way for way in left if ways.holds(way, made, self.found, numbers)]
        if not kept and not lenient:
            raise RefusedError(self.observer.node, ways.apart(self.source, made, self.found, numbers))
        return kept or left

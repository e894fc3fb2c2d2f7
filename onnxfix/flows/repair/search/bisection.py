"""Bisection: which few nodes to keep in fp32 so that a half-precision model is within a limit, in few runs.

A run converts the model with some nodes kept, and measures it; that is all that is known of it. More nodes kept mean
no larger error, up to noise, so that the answer to a set follows from those to its sub- and supersets. The first needed
node is found by bisection over prefixes of the topological order; further ones like the sets of QuickXplain (Junker,
2004), with what is found kept. A culprit is often a stretch of neighbours (a product that overflows, its activation,
the product that reads it), so neighbours are tried before the rest of the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from onnxfix.nouns.errors import OnnxfixError, arg

Kept = frozenset[int]
# Neighbours tried to the left of a needed unit before the search goes on elsewhere.
STRETCH = 8
# Layers that are looked into node by node; with more the error is spread over the model, and whole layers are kept.
LOOKED_INTO = 6


@dataclass(frozen=True)
class Found:
    """`kept`: indices of the nodes to keep; `error` as measured with them, `runs` in all, `within` the limit or not."""

    kept: tuple[int, ...]
    error: float
    runs: int
    within: bool


# Sums in another order and fusions differ by less.
NO_PRECISION = 1e-4


@dataclass
class Search:
    """`measure` gives the error with the nodes of these indices kept; NaN counts as infinite. `known`: answers of an
    earlier search, which are not asked again. Not more than `most` runs are made before the search settles."""

    measure: Callable[[Kept], float]
    limit: float
    most: int = 200
    known: dict[Kept, float] = field(default_factory=dict)
    runs: int = 0

    def run(self, layers: Sequence[str]) -> Found:
        """Search over nodes in topological order. `layers`: the module each belongs to; empty where none is known.

        Raises OnnxfixError when even all nodes kept miss the limit.
        """
        if self._ok(frozenset()):
            return self._found(frozenset())
        self._require_within(frozenset(range(len(layers))))
        stretches = _stretches(layers)
        needed = self._needed(stretches, frozenset())
        kept = frozenset().union(*(stretches[i] for i in needed))
        if len(needed) <= LOOKED_INTO:
            for i in needed:
                rest = kept - stretches[i]
                singles = [frozenset({node}) for node in sorted(stretches[i])]
                kept = rest.union(*(singles[k] for k in self._needed(singles, rest)))
        return self._found(kept)

    def shortest(self, count: int, guess: int = 1) -> Found:
        """The fewest of nodes in the order in which they are to be kept. Errors that many make are a sum of squares, of
        which no search finds a few: this takes few runs around a `guess` that is near, and twice as many as the count
        has bits where it is not; some more where the error is not monotone.

        Raises OnnxfixError as `run`.
        """
        if self._ok(frozenset()):
            return self._found(frozenset())
        low, high = self._bounds(count, min(max(guess, 1), count))
        kept = low + _least(high - low, lambda n: self._ok(frozenset(range(low + n))))
        while self.error(frozenset(range(kept))) > self.limit:
            kept += 1
        return self._found(frozenset(range(kept)))

    def _bounds(self, count: int, guess: int) -> tuple[int, int]:
        """Two numbers of nodes, of which the second suffice and the first do not, in steps that double."""
        within, step = self._ok(frozenset(range(guess))), 1
        low, high = (0, guess) if within else (guess, count)
        at = guess - 1 if within else guess + 1
        while 0 < at < count:
            if self._ok(frozenset(range(at))) != within:
                return (at, high) if within else (low, at)
            low, high = (low, at) if within else (at, high)
            step *= 2
            at = at - step if within else at + step
        if not within:
            self._require_within(frozenset(range(count)))
        return low, high

    def _require_within(self, everything: Kept) -> None:
        if self._ok(everything):
            return
        least = self.error(everything)
        other = f"it is not made by precision: see what {arg('precision', 'fp32')} alone errs by, or report it"
        raise OnnxfixError(
            f"with every node in fp32 the error is still {least:.1e} (limit {self.limit:g})",
            f"raise {arg('max_error')}" if least <= NO_PRECISION else other,
        )

    def error(self, kept: Kept) -> float:
        """The measured error of a set; infinite for NaN."""
        if kept not in self.known:
            self.runs += 1
            made = self.measure(kept)
            self.known[kept] = made if made == made else float("inf")
        return self.known[kept]

    def _ok(self, kept: Kept) -> bool:
        """Within the limit, by measurement or because a smaller set is, or a larger one is not."""
        if kept not in self.known:
            if any(error <= self.limit and known <= kept for known, error in self.known.items()):
                return True
            if any(error > self.limit and known >= kept for known, error in self.known.items()):
                return False
        return self.error(kept) <= self.limit

    def _needed(self, units: Sequence[Kept], fixed: Kept) -> list[int]:
        """Indices of units that suffice besides `fixed`, given that all of them do."""
        found: set[int] = set()
        end = len(units)

        def kept(indices: set[int]) -> Kept:
            return fixed.union(*(units[i] for i in indices))

        def suffices(indices: Iterable[int]) -> bool:
            return self._ok(kept(found | set(indices)))

        while not suffices(()) and self.runs < self.most:
            end = _least(len(units), lambda n: suffices(range(n)))
            found.add(end - 1)
            if suffices(()):
                break
            reach = min(STRETCH, end)
            if suffices(range(end - reach, end)):
                length = _least(reach, lambda n, last=end: suffices(range(last - n, last)))  # type: ignore[misc]
                found |= set(range(end - length, end))
        if self.runs >= self.most and not suffices(()):
            return sorted(found | set(range(end)))  # which is known to suffice
        for unit in sorted(found)[1:-1]:  # between two culprits of one stretch
            if self.runs < self.most and self._ok(kept(found - {unit})):
                found.discard(unit)
        return sorted(found)

    def _found(self, kept: Kept) -> Found:
        error = self.error(kept)  # measured, whatever followed from other sets
        return Found(tuple(sorted(kept)), error, self.runs, error <= self.limit)


def _least(most: int, holds: Callable[[int], bool]) -> int:
    """The smallest n in 1…most for which a monotone property holds, given that it holds for `most`."""
    low, high = 0, most  # does not hold for low, holds for high
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def _stretches(layers: Sequence[str]) -> list[Kept]:
    """Neighbours of one layer together; all nodes where no layers are known."""
    grouped = groupby(range(len(layers)), key=lambda i: layers[i])
    return [frozenset(indices) for _, indices in grouped]

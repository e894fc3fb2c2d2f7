"""Reach: all that is got to from somewhere, a step at a time."""

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def reached(start: Iterable[T], onwards: Callable[[T], Iterable[T]]) -> list[T]:
    """`start` and all behind it, each once; of what `onwards` yields the last is taken first."""
    found: dict[T, None] = {}
    pending = list(start)
    while pending:
        if (each := pending.pop()) not in found:
            found[each] = None
            pending.extend(onwards(each))
    return list(found)

"""What a condition says of a case: met, against it with the reason, or open until a size is known; and conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from .cases import Case
from .settings import Settings


@dataclass(frozen=True)
class Against:
    """Never holds for this case, in the words of a report: `has an attention_bias`."""

    reason: str


@dataclass(frozen=True)
class When:
    """Holds when something does that the file leaves open: `the queries are a multiple of 8`."""

    words: str


Verdict: TypeAlias = Against | When | None
"""None where the condition holds."""


@dataclass(frozen=True)
class Asked:
    """One case on a GPU of one architecture (80 for sm 80), in a session of these settings."""

    case: Case
    sm: int
    settings: Settings


@dataclass(frozen=True)
class Condition:
    """`needs`: as a table of conditions says it."""

    needs: str
    verdict: Callable[[Asked], Verdict]


def no(needs: str, reason: str, found: Callable[[Case], bool]) -> Condition:
    """Against a case in which something is there."""
    return Condition(needs, lambda asked: Against(reason) if found(asked.case) else None)


def allowed(needs: str, reason: str, given: Callable[[Settings], bool]) -> Condition:
    """Against a session that disables something."""
    return Condition(needs, lambda asked: None if given(asked.settings) else Against(reason))


def elements(*names: str) -> Condition:
    """Only these types; a case whose type is not known is open."""

    def verdict(asked: Asked) -> Verdict:
        element = asked.case.element
        if not element:
            return When(f"it computes in {' or '.join(names)}")
        return None if element in names else Against(f"computes in {element}")

    return Condition(" or ".join(names), verdict)


def told(known: int | None, holds: Callable[[int], bool], reason: str, when: str) -> Verdict:
    """Of a size that the file may leave open; `reason` has `{}` for it."""
    if known is None:
        return When(when)
    return None if holds(known) else Against(reason.format(known))

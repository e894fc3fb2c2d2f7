"""A number with the noun that it counts, and several names in a row, in notes, errors and reports alike."""

from __future__ import annotations

from collections.abc import Sequence


def plural(count: int, noun: str) -> str:
    """`1 node`, `1,234 nodes`, `2 copies`, `2 classes`."""
    if count == 1:
        return f"{count:,} {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith("py") else f"{count:,} {noun}{'es' if noun[-1] == 's' else 's'}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))

"""A number with the noun that it counts, in notes, errors and reports alike."""

from __future__ import annotations


def plural(count: int, noun: str) -> str:
    """`1 node`, `1,234 nodes`, `2 copies`, `2 classes`."""
    if count == 1:
        return f"{count:,} {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith("py") else f"{count:,} {noun}{'es' if noun[-1] == 's' else 's'}"

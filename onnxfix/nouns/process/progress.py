"""Progress: how a job says what it does now, without knowing who listens: a terminal's bar, a notebook, nobody."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

Advance = Callable[[str], None]
"""Called once a step with what happens now."""
Progress = Callable[[str, int | None], contextlib.AbstractContextManager[Advance]]
"""Called with a title and the number of steps, None where it is open; the body is told how to advance."""


def silent(title: str, total: int | None = None) -> contextlib.AbstractContextManager[Advance]:
    """Progress that nobody sees."""
    return contextlib.nullcontext(lambda step: None)

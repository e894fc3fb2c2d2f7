"""Progress of long work: a callback that is called as often as was announced, whatever fails on the way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

Progress = Callable[[str], None]


@contextlib.contextmanager
def stretch(progress: Progress, steps: int, name: str) -> Iterator[Progress]:
    """A callback for `steps` steps; those that did not happen when the block ends are made up for."""
    left = steps

    def tick(step: str) -> None:
        nonlocal left
        if left > 0:
            left -= 1
            progress(step)

    try:
        yield tick
    finally:
        while left > 0:
            tick(name)

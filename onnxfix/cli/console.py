"""The terminal: one console for results on stdout, one for progress and errors on stderr."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def out() -> Console:
    """Results. Width follows the terminal, 120 columns when piped so that tables are not cut."""
    import sys

    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120, highlight=False, soft_wrap=False)


def err() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


Advance = Callable[[str], None]


@contextlib.contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Advance]:
    """A progress bar on stderr that vanishes when done; nothing at all when stderr is not a terminal.

    The body calls `advance("what happens now")` once a step.
    """
    console = err()
    if not console.is_terminal:
        yield lambda step: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=total)

        def advance(step: str) -> None:
            bar.update(task, advance=1, description=f"{title}: {step}")

        yield advance

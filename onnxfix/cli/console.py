"""The terminal: one console for results on stdout, one for progress and errors on stderr."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from rich.console import Console

    from onnxfix.nouns.process.progress import Advance


class _WithoutTrailingBlanks:
    """A stream whose lines end where their text does: rich pads tables to full width, which diffs and logs show."""

    # blanks before a line end, with the colour codes that may stand between them
    _BLANKS = re.compile(r"[ \t]+((?:\x1b\[[0-9;]*m)*)(?=\n)")

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(self._BLANKS.sub(r"\1", text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def out(stream: IO[str] | None = None) -> Console:
    """Results, on stdout or into a file. Width follows the terminal; 120 columns when piped, so that tables fit."""
    import sys

    from rich.console import Console

    target = stream or sys.stdout
    if target.isatty():
        return Console(highlight=False, soft_wrap=False)
    return Console(file=cast("IO[str]", _WithoutTrailingBlanks(target)), width=120, highlight=False, soft_wrap=False)


def err() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


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

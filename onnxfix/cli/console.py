"""The terminal: one console for results on stdout, one for progress and errors on stderr."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, cast

import click

from onnxfix.render.words import commandless, harmless, without_control

if TYPE_CHECKING:
    from rich.console import Console

    from onnxfix.nouns.process.progress import Advance


class _Lines:
    """A stream whose lines end where their text does, as rich pads tables to full width, which diffs and logs show; and
    which no runner takes for commands, whatever a model calls its nodes."""

    # blanks before a line end, with the colour codes that may stand between them
    _BLANKS = re.compile(r"[ \t]+((?:\x1b\[[0-9;]*m)*)(?=\n)")

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(commandless(self._BLANKS.sub(r"\1", text)))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def out(stream: IO[str] | None = None) -> Console:
    """Results, on stdout or into a file. Width follows the terminal; 120 columns when piped, so that tables fit."""
    import sys

    target = stream or sys.stdout
    if target.isatty():
        return _harmless()(highlight=False, soft_wrap=False)
    return _harmless()(file=cast("IO[str]", _Lines(target)), width=120, highlight=False, soft_wrap=False)


def err() -> Console:
    return _harmless()(stderr=True, highlight=False, soft_wrap=True)


def echo(text: str, *, err: bool = False) -> None:
    """Print text as it is, but for what a terminal or a runner would obey."""
    click.echo(harmless(text), err=err)


def commands(text: str) -> None:
    """Print what a runner shall obey: texts out of models are harmless in it already."""
    click.echo(without_control(text))


@functools.cache
def _harmless() -> type[Console]:
    """rich's console, for text that comes out of models: it leaves out some control characters, and not all."""
    from rich.console import Console
    from rich.segment import Segment

    class Harmless(Console):
        def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=without_control(segment.text))

    return Harmless


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

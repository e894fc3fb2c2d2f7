"""Keep what exporters print off the terminal: Python warnings, log handlers, prints and C++ output alike.

torch prints a dozen lines an export and transformers draws its own progress bars; all of it goes to a temporary file
whose end is attached to an exception as a note, so that `--debug` shows it.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import IO, TextIO

STDOUT, STDERR = 1, 2
NOTE_CHARACTERS = 4000


class _Log(io.TextIOBase):
    """Stands in for sys.stderr: writes go to the log, while rich, which looks through `rich_proxied_file` to find the
    real stream of its bar, still reaches the terminal."""

    def __init__(self, log: IO[str], terminal: TextIO) -> None:
        self.log = log
        self.rich_proxied_file = terminal

    def write(self, text: str) -> int:
        return self.log.write(text)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Redirect file descriptors 1 and 2 and the Python streams over them for the duration of the block."""
    sys.stdout.flush()
    sys.stderr.flush()
    with (
        contextlib.ExitStack() as stack,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace", buffering=1) as log,
    ):
        terminal = _terminal(stack)
        for descriptor in (STDOUT, STDERR):
            _redirect(descriptor, log.fileno(), stack)
        stack.enter_context(contextlib.redirect_stdout(log))
        stack.enter_context(contextlib.redirect_stderr(_Log(log, terminal)))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as error:
            error.add_note(_tail(log))
            raise


def _terminal(stack: contextlib.ExitStack) -> TextIO:
    """The present stderr, moved to a descriptor of its own when it writes to the one about to be redirected."""
    stream = sys.stderr
    try:
        on_descriptor = stream.fileno() == STDERR
    except (OSError, ValueError, AttributeError):
        on_descriptor = False
    if not on_descriptor:
        return stream
    return stack.enter_context(os.fdopen(os.dup(STDERR), "w", encoding=stream.encoding, errors="replace"))


def _redirect(descriptor: int, target: int, stack: contextlib.ExitStack) -> None:
    try:
        saved = os.dup(descriptor)
    except OSError:  # closed by the caller: nothing to keep quiet
        return
    os.dup2(target, descriptor)
    stack.callback(os.close, saved)
    stack.callback(os.dup2, saved, descriptor)


def _tail(log: IO[str]) -> str:
    log.flush()
    log.seek(0)
    return log.read()[-NOTE_CHARACTERS:]

"""Child: a Python process that works for this one; that it crashes or hangs is an answer here, and not our end.

A worker is a module with a function `answer`, which the child imports and calls with one request after the other. Both
go pickled, each behind its length, through pipes of their own: what a library prints is in the log and harms nobody.
Nothing is imported from the current folder, which may hold anything. A child goes, with all that it started, when it is
late, when it is closed, which removes its temporary files too, and when whoever started it is gone.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxfix.nouns.errors import OnnxfixError

from . import deadline
from .scratch import Scratch
from .serving import read, write

# Long enough for 7 billion parameters on a slow disk; what takes longer hangs.
LONGEST_S = 4 * 3600.0

# Not multiprocessing's spawn: that runs the caller's main module again, and few scripts expect it.
_BOOT = """import sys
worker, sys.path[:], sys.argv[1:] = sys.argv[1], sys.argv[2:], []
from onnxfix.nouns.process.serving import serve
serve(worker)"""
# How long a process that has closed its pipe may still take to end.
_LAST_BREATH_S = 10.0


class RefusedError(OnnxfixError):
    """The worker raised an error: one of ours as it is, the message of any other on one line."""


class CrashedError(Exception):
    """The child ended without an answer."""

    def __init__(self, code: int, log: str) -> None:
        self.by_signal = code < 0
        lines = (line.strip()[:200] for line in reversed(log.split("\n")))
        self.last_line = next(filter(None, lines), "")
        ended = f"ended with exit code {code}: {self.last_line}".removesuffix(": ")
        super().__init__(f"was ended by {_signal(-code)}" if self.by_signal else ended)


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:  # one of the unnamed real-time signals
        return f"signal {number}"
    return f"{name} (out of memory?)" if name == "SIGKILL" else name


class Child:
    """Starts the process, which imports `worker` at once; a block ends it. Raises OnnxfixError where none starts.

    `environment`: variables it has beside ours. `factories`: it may find modules of the current folder, behind all
    others, if we do: for functions that the user's own script hands over.
    """

    def __init__(self, worker: str, environment: Mapping[str, str] | None = None, factories: bool = False) -> None:
        self._scratch = Scratch()
        # appended to: reading it must not move where the child writes
        self._log = tempfile.TemporaryFile("a+b")  # noqa: SIM115  lives as long as the process, closed with it
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, worker, *_search_path(factories)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env={**_clean(), "TMPDIR": str(self._scratch.path), **(environment or {})},
                start_new_session=True,
            )
        except OSError as error:
            self._log.close()
            self._scratch.close()
            raise OnnxfixError(f"no process can be started: {error.strerror or error}") from error

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def send(self, request: Any) -> None:
        """Begin what `answer` waits for; in order, should there be more. Raises what pickle raises, with nothing
        sent."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # a process that is gone is seen by `answer`
            write(self._process.stdin, pickle.dumps(request))

    def answer(self, limit_s: float = LONGEST_S) -> Any:
        """What the worker returned. Raises RefusedError, and CrashedError or TimeoutError, after which it is gone, as
        after LateError, where the job that it works for has no more time.

        The text of the second two is one clause: `was ended by SIGKILL (out of memory?)`, `did not answer within 60 s`.
        """
        assert self._process.stdout is not None
        job = deadline.current()
        limit_s, late = min(limit_s, job.left()) if job else limit_s, threading.Event()
        with deadline.after(limit_s, late, self._kill):
            answer = read(self._process.stdout)
        if late.is_set():
            self._end()
            if job is not None and time.monotonic() >= job.until:
                raise job.error()
            raise TimeoutError(f"did not answer within {limit_s:g} s")
        if answer is None:
            raise self._crash()
        succeeded, said = pickle.loads(answer)
        if not succeeded:
            raise RefusedError(*said)
        return said

    def ask(self, request: Any, limit_s: float = LONGEST_S) -> Any:
        """`send` and `answer`."""
        self.send(request)
        return self.answer(limit_s)

    def alive(self) -> bool:
        """Whether the process still runs."""
        if self._process.returncode is None and self._process.poll() is not None:
            self._kill()  # what it started
        return self._process.returncode is None

    def log(self) -> str:
        """What was written to stdout and stderr until now; not after `close`."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def close(self) -> None:
        """End the process at once: tearing a runtime down takes seconds. Safe to call twice and after a failure."""
        self._end()
        for stream in filter(None, (self._process.stdin, self._process.stdout, self._log)):
            with contextlib.suppress(OSError):
                stream.close()
        self._scratch.close()

    def _crash(self) -> CrashedError:
        if self._process.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST_BREATH_S)
            self._kill()  # what it started
            self._process.wait()
        return CrashedError(self._process.returncode, self.log())

    def _end(self) -> None:
        if self._process.returncode is None:
            self._kill()
            self._process.wait()

    def _kill(self) -> None:
        """The child and what it started, which is its group."""
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()


def _clean() -> dict[str, str]:
    """Our environment without what makes a Python start elsewhere or run something first; so for what the child starts.

    It gets our search path as it is, so that PYTHONPATH is not missed. PYTHONHOME stays: this process found its
    standard library with it.
    """
    taken = ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONWARNINGS", "PYTHONDEBUG", "PYTHONVERBOSE")
    return {name: value for name, value in os.environ.items() if name not in taken} | {"PYTHONSAFEPATH": "1"}


def _search_path(factories: bool) -> list[str]:
    """Where we find modules, without the current folder, unless it is the one that this package is in."""
    entries = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100  Path() makes '' into '.'
    here, ours = os.path.abspath(""), str(Path(__file__).parents[3])  # noqa: PTH100
    elsewhere = [entry for entry in entries if entry == ours or os.path.realpath(entry) != os.path.realpath(here)]
    return [*elsewhere, here] if factories and len(elsewhere) < len(entries) else elsewhere

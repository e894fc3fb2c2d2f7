"""Deadline: the time that a job has, which stage it is in, and what is stopped when the time is over.

Each kind of work ends in its own way: Python's own by an exception in the thread that the job runs in, a child process
by its death, a run of ONNX Runtime by its terminate flag, which stops an endless Loop at its next node.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

from onnxfix.nouns.errors import OnnxfixError, arg

from .progress import Advance

LONGEST_S = 4 * 3600.0
"""A job for which nothing was said: 7 billion parameters on a slow disk take an hour."""
# One run of a model in a job for which nothing was said. The bundled model takes 2 s for 2,048 tokens with every node
# rounded to half precision; the rest is for machines that do other things as well. The second figure is 2 MB a second.
RUN_S, BYTES_A_SECOND = 60.0, 2e6
# What native code that cannot be stopped may still take, before the process is ended by `last_resort`.
GRACE_S = 15.0

last_resort: Callable[[OnnxfixError], None] | None = None
"""What a program that is nothing but the job does when even that did not help: end itself. None in a library."""


class LateError(OnnxfixError):
    """A stage did not end in time."""

    def __init__(self, what: str, limit_s: float, longest: tuple[str, float] | None = None) -> None:
        longer = f"give it longer with {arg('timeout', 'SECONDS')}"
        spent = f", {longest[1]:.0f} of which went to: {longest[0]}" if longest else ""
        super().__init__(f"{what} did not end within {limit_s:.3g} s{spent}", longer)


class _Late(BaseException):
    """Raised within the thread that is late; no `except Exception` of a library's quirks may take it for one."""


@dataclass
class Deadline:
    """Of one job. `stage`: what it does now."""

    limit_s: float
    run_s: float
    stage: str
    until: float
    thread: int = field(default_factory=threading.get_ident)
    open: bool = True
    late: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    begun: float = field(default_factory=time.monotonic)
    took: dict[str, float] = field(default_factory=dict)
    """Seconds of the stages before this one."""
    whole: int = 0
    """Blocks it is in that no exception may end half done."""
    held: bool = False
    """Whether the exception waits for the end of these."""

    def enter(self, stage: str) -> None:
        now = time.monotonic()
        self.took[self.stage] = self.took.get(self.stage, 0.0) + now - self.begun
        self.stage, self.begun = stage, now

    def error(self) -> LateError:
        """With the stage that took most, where that is another one than the one it is in and took most of the limit."""
        longest = max(self.took, key=lambda stage: self.took[stage], default=self.stage)
        named = longest.partition(": ")[2]  # nothing but the job's own name before its first stage
        long = bool(named) and longest != self.stage and self.took[longest] > self.limit_s / 2
        return LateError(self.stage, self.limit_s, (named, self.took[longest]) if long else None)

    def left(self) -> float:
        """Seconds, at least a thousandth: what waits for none waits for ever."""
        return max(self.until - time.monotonic(), 1e-3)

    def interrupt(self) -> None:
        with self.lock:
            if self.open:
                self.late, self.held = True, self.whole > 0
                if self.held:
                    return
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread), ctypes.py_object(_Late))

    def end(self) -> None:
        """Nothing in Python got through."""
        if self.open and last_resort is not None:
            last_resort(self.error())


# The command that a job is a part of, its limit as stated, and when that is over.
_COMMAND: ContextVar[tuple[str, float, float] | None] = ContextVar("command", default=None)
_CURRENT: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def current() -> Deadline | None:
    """Of the job that this thread, or the context it was started with, works for."""
    return _CURRENT.get()


@contextlib.contextmanager
def command(name: str, timeout: float | None) -> Iterator[None]:
    """A block whose jobs are parts of one command: they have `timeout` seconds together, and speak by its name."""
    limit = LONGEST_S if timeout is None else timeout
    token = _COMMAND.set((name, limit, time.monotonic() + limit))
    try:
        yield
    finally:
        _COMMAND.reset(token)


@contextlib.contextmanager
def limited(job: str, timeout: float | None, nbytes: int, progress: Advance) -> Iterator[Advance]:
    """A block that ends within `timeout` seconds, or raises LateError with its stage; `nbytes`: size of the model.

    Yields what to call with the name of each stage, which tells `progress`. Without a timeout only a single run of the
    model has a limit that somebody could notice.
    """
    limit = stated = LONGEST_S if timeout is None else timeout
    if (part_of := _COMMAND.get()) is not None:
        job, stated = part_of[:2]
        limit = max(min(limit, part_of[2] - time.monotonic()), 1e-3)
    run = RUN_S + nbytes / BYTES_A_SECOND if timeout is None else limit
    deadline = Deadline(stated, run, job, time.monotonic() + limit)
    timers = [threading.Timer(limit, deadline.interrupt), threading.Timer(limit + GRACE_S, deadline.end)]
    token = _CURRENT.set(deadline)

    def advance(step: str) -> None:
        deadline.enter(f"{job}: {step}")
        if deadline.late:
            raise deadline.error()
        progress(step)

    try:
        try:
            for timer in timers:  # the first may be over before the second has begun
                timer.daemon = True
                timer.start()
            yield advance
        finally:
            _CURRENT.reset(token)
            for timer in timers:
                timer.cancel()
            with deadline.lock:
                deadline.open = False
            if deadline.late:  # on its way to this thread, and to be met here and nowhere else
                time.sleep(1.0)
    except _Late:
        raise deadline.error() from None


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """A short block of this thread that ends before the exception of a late job comes: a folder made and not yet noted,
    or a removal begun, would stay for ever."""
    deadline = _CURRENT.get()
    if deadline is None or deadline.thread != threading.get_ident():
        yield
        return
    with deadline.lock:
        deadline.whole += 1
    try:
        time.sleep(0)  # an exception that was sent before arrives at a call, so here
        yield
    finally:
        with deadline.lock:
            deadline.whole -= 1
            due, deadline.held = deadline.held and not deadline.whole, deadline.held and deadline.whole > 0
        if due:
            raise _Late


@contextlib.contextmanager
def stopping(what: str, stop: Callable[[], None]) -> Iterator[None]:
    """A block that is one run of a model: `stop` is called when it is late, and LateError is raised when it has ended.

    Nothing is limited where no job is.
    """
    deadline = _CURRENT.get()
    if deadline is None:
        yield
        return
    late = threading.Event()
    try:
        with after(min(deadline.run_s, deadline.left()), late, stop):
            yield
    finally:
        if late.is_set():
            said = deadline.limit_s if deadline.left() <= 1e-3 else deadline.run_s
            raise LateError(f"{deadline.stage}: {what}", said)


@contextlib.contextmanager
def after(limit_s: float, late: threading.Event, stop: Callable[[], None]) -> Iterator[None]:
    """A block that takes longer sets `late` and calls `stop`, which ends what it waits for, in any thread."""

    def end() -> None:
        late.set()
        stop()

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()

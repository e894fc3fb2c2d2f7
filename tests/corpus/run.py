"""Cases judged in worker processes with a deadline each: a worker that is late or dies is replaced, and that is told."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from .cases import Case
from .forked import Nursery
from .judged import COMMANDS, Outcome, judge

DEADLINE_S = 60.0
Task = tuple[int, str]
"""The number of a case, and a command."""


@dataclass
class _Worker:
    """A process that is forked, so that it has the cases already; it answers one task at a time."""

    given: Sequence[Case]
    task: Task | None = None
    since: float = 0.0
    pipe: Connection = field(init=False)
    pid: int = field(init=False)

    def __post_init__(self) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self.pipe.close()
            _serve(theirs, self.given)
        theirs.close()

    def begin(self, task: Task) -> None:
        self.task, self.since = task, time.monotonic()
        self.pipe.send(task)

    def end(self) -> None:
        with_it = (ProcessLookupError, PermissionError)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except with_it:
            pass
        os.waitpid(self.pid, 0)
        self.pipe.close()


def run(given: Sequence[Case], *, workers: int = 2, told: Callable[[Outcome], None] = lambda o: None) -> list[Outcome]:
    """Every case through every command, in order of the cases. `told` hears of each as it is done."""
    order = random.Random(0).sample(range(len(given)), len(given))  # what is slow, and alike, stands together
    tasks = deque((number, command) for number in order for command in COMMANDS)
    found: dict[Task, Outcome] = {}
    crew = [_Worker(given) for _ in range(min(workers, len(tasks)))]
    try:
        while tasks or any(worker.task for worker in crew):
            for index, worker in enumerate(crew):
                if worker.task is None and tasks:
                    worker.begin(tasks.popleft())
                elif worker.task is not None and _late(worker):
                    crew[index] = _replaced(worker, found, "not ended within the deadline")
            for outcome, task in _heard(crew, found):
                found[task] = outcome
                told(outcome)
    finally:
        for worker in crew:
            worker.end()
    return [found[key] for key in sorted(found)]


def _late(worker: _Worker) -> bool:
    return time.monotonic() - worker.since > DEADLINE_S


def _heard(crew: list[_Worker], found: dict[Task, Outcome]) -> Iterator[tuple[Outcome, Task]]:
    for pipe in wait([worker.pipe for worker in crew if worker.task is not None], timeout=1.0):
        index = next(i for i, worker in enumerate(crew) if worker.pipe is pipe)
        worker = crew[index]
        try:
            outcome = worker.pipe.recv()
        except (EOFError, OSError):
            crew[index] = _replaced(worker, found, "the process died")
            continue
        assert worker.task is not None
        yield outcome, worker.task
        worker.task = None


def _replaced(worker: _Worker, found: dict[Task, Outcome], why: str) -> _Worker:
    assert worker.task is not None
    number, command = worker.task
    found[worker.task] = Outcome(worker.given[number].name, command, "FAILED", why)
    worker.end()
    return _Worker(worker.given)


def _serve(pipe: Connection, given: Sequence[Case]) -> None:
    """The worker's side: a group of its own, so that it ends with all that it started."""
    os.setpgid(0, 0)
    nursery = Nursery()
    nursery.install()
    try:
        while True:
            number, command = pipe.recv()
            with tempfile.TemporaryDirectory(prefix="onnxfix-corpus-") as folder:
                pipe.send(judge(given[number], command, Path(folder)))
    except (EOFError, OSError, KeyboardInterrupt):
        os._exit(0)

"""Processes that the product starts, forked from one that has imported already: a corpus starts thousands.

What they do is the product's; only the second that Python and ONNX Runtime take to import is saved, twice a repair.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import traceback
from typing import IO, Any

from onnxfix.nouns.process import children
from onnxfix.nouns.process.serving import serve

WORKERS = (
    "onnxfix.diagnose.placement.optimised.compile_worker",
    "onnxfix.eval.run.load_check",
    "onnxfix.eval.run.runners",
    "onnxfix.eval.numerics.emulator",
)
"""What is imported before anything is forked."""


class Nursery:
    """The process that forks. Started before this one has threads of its own."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.fork() == 0:
            self._ours.close()
            _nurse(theirs)
        theirs.close()

    def install(self) -> None:
        """Let the product's children come from here."""
        vars(children)["subprocess"] = _Subprocess(self)

    def start(self, worker: str, environment: dict[str, str], log: int) -> tuple[int, IO[bytes], IO[bytes], Any]:
        """Fork a worker: its process id, its stdin and stdout, and a socket that tells its exit code."""
        requests, answers = os.pipe(), os.pipe()
        told, teller = socket.socketpair()
        given = [requests[0], answers[1], log, teller.fileno()]
        message = pickle.dumps((worker, environment))
        with self._one_at_a_time:
            socket.send_fds(self._ours, [len(message).to_bytes(8, "little")], given)
            self._ours.sendall(message)
        for descriptor in (requests[0], answers[1]):
            os.close(descriptor)
        teller.close()
        number = int.from_bytes(told.recv(8, socket.MSG_WAITALL), "little")
        return number, os.fdopen(requests[1], "wb"), os.fdopen(answers[0], "rb"), told


class _Subprocess:
    """Stands in the place of the module `subprocess` where children are started."""

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def Popen(self, arguments: list[str], **how: Any) -> Any:
        if "-c" not in arguments:
            return subprocess.Popen(arguments, **how)
        worker = arguments[arguments.index("-c") + 2]
        return _Forked(*self._nursery.start(worker, dict(how["env"]), how["stderr"].fileno()))


class _Forked:
    """As much of a Popen as is used of it."""

    def __init__(self, pid: int, stdin: IO[bytes], stdout: IO[bytes], told: socket.socket) -> None:
        self.pid, self.stdin, self.stdout, self._told = pid, stdin, stdout, told
        self.returncode: int | None = None

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.001)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._told.settimeout(timeout)
            try:
                said = self._told.recv(8)
            except TimeoutError as error:
                raise subprocess.TimeoutExpired("worker", timeout or 0) from error
            self._told.close()
            self.returncode = int.from_bytes(said, "little", signed=True) if said else -9
        return self.returncode

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)


def _nurse(requests: socket.socket) -> None:
    """Fork what is asked for until nobody asks."""
    for worker in WORKERS:
        importlib.import_module(worker)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        length, given, _, _ = socket.recv_fds(requests, 8, 4)
        if not length:
            os._exit(0)
        worker, environment = pickle.loads(requests.recv(int.from_bytes(length, "little"), socket.MSG_WAITALL))
        if os.fork() == 0:
            requests.close()
            _guard(worker, environment, given)
        for descriptor in given:
            os.close(descriptor)


def _guard(worker: str, environment: dict[str, str], given: list[int]) -> None:
    """Fork the worker, tell its number, and its exit code when it is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    stdin, stdout, log, teller = given
    pid = os.fork()
    if pid == 0:
        _work(worker, environment, stdin, stdout, log, teller)
    for descriptor in (stdin, stdout, log):
        os.close(descriptor)
    told = socket.socket(fileno=teller)
    told.sendall(pid.to_bytes(8, "little"))
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):
        told.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, "little", signed=True))
    os._exit(0)


def _work(worker: str, environment: dict[str, str], stdin: int, stdout: int, log: int, teller: int) -> None:
    os.close(teller)
    os.setsid()
    for ours, theirs in ((stdin, 0), (stdout, 1), (log, 2)):
        os.dup2(ours, theirs)
        os.close(ours)
    os.environ.clear()
    os.environ.update(environment)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    try:
        serve(worker)
    except BaseException:
        traceback.print_exc()
    os._exit(1)

"""Worker: one variant in a process of its own, so that its memory is its own and its crash is nobody else's."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Literal

from onnxfix.eval.inputs.workload import Arrays

from .variant import Variant

if TYPE_CHECKING:
    from onnxfix.eval.roofline.peak_rates import Peaks

CHILD = "from onnxfix.eval.bench.worker_process import main; main()"
# Long enough for a multi-gigabyte model on a slow disk or a batch on a slow CPU, short enough to end a deadlock.
REPLY_LIMIT_S = 1800.0


class VariantFailure(Exception):  # noqa: N818  a result of the bench, not an error of the tool
    """The variant failed; the message is one line without the variant's name."""


@dataclass(frozen=True)
class Settings:
    """How every variant runs. `threads` 0 leaves the number of CPU threads to each runtime."""

    provider: Literal["cpu", "cuda"] = "cpu"
    threads: int = 0


@dataclass(frozen=True)
class Opened:
    """What a worker knows once its variant is loaded. `weights_bytes` is 0 for ONNX files."""

    load_s: float
    weights_bytes: int
    output_names: list[str]


@dataclass(frozen=True)
class Memory:
    """Bytes beyond the same process with the runtime imported and nothing loaded; `vram` None where unknown.

    `peak_rss` is the peak of the host memory. `vram` is what the whole device holds more than before the load: the
    arenas of both runtimes never shrink, so after a run it is the peak too.
    """

    peak_rss: int
    vram: int | None
    largest_rss: int = 0
    """The same as `peak_rss` after the largest batch of all that will be timed."""
    base_rss: int = 0
    """What the process took before the load."""
    vram_free: int | None = None
    """What the device had free before the load."""


@dataclass(frozen=True)
class Timed:
    """`seconds`: one figure a batch; `joules`: of the device, over all of them, where it counts energy."""

    seconds: list[float]
    joules: float | None = None


class Worker:
    """Starts the process, which then imports its runtime. `environment`: variables it has beside ours.

    Everything raises VariantFailure when the variant fails or the process dies.
    """

    def __init__(self, variant: Variant, settings: Settings, environment: Mapping[str, str] | None = None) -> None:
        self._load = _message("open", variant, settings)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process, closed with it
        ours, theirs = socket.socketpair()
        with theirs:
            # Not multiprocessing's spawn: that runs the caller's main module again, and few scripts expect it.
            command = [sys.executable, "-c", CHILD, str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **(environment or {})},
            )
        self._connection: Connection[Any, Any] = Connection(ours.detach())
        # read behind the path: an engine's module may lie on it
        self._connection.send((sys.path, pickle.dumps(variant.engine), settings))

    def ready(self) -> None:
        """Wait until the process has imported its runtime."""
        self._receive()

    def open(self) -> Opened:
        """Load the variant."""
        opened: Opened = self._send(self._load)
        return opened

    def run(self, arrays: Arrays) -> Arrays:
        """Output name → array on one batch."""
        outputs: Arrays = self._ask("run", arrays)
        return outputs

    def warm(self, arrays: Arrays) -> None:
        """Run one batch until its time has settled."""
        self._ask("warm", arrays)

    def time(self, batches: Sequence[Arrays]) -> Timed:
        """Seconds a batch. The first batch runs once untimed before: other workers have used the caches since."""
        timed: Timed = self._send(_message("time", list(batches)), REPLY_LIMIT_S * (1 + len(batches)))
        return timed

    def profile(self, variant: Variant, settings: Settings, arrays: Arrays, peaks: Peaks) -> dict[str, Any]:
        """Where the time of a batch goes (see bench_profile.document); needs no `open`."""
        found: dict[str, Any] = self._ask("profile", variant, settings, arrays, peaks)
        return found

    def memory(self) -> Memory:
        """Peak memory until now."""
        memory: Memory = self._ask("memory")
        return memory

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process; safe to call twice and after a failure."""
        self._connection.close()
        self._process.kill()  # it holds nothing that must be kept, and tearing a runtime down takes seconds
        self._process.wait()
        self._log.close()

    def _ask(self, verb: str, *arguments: Any) -> Any:
        return self._send(_message(verb, *arguments))

    def _send(self, message: bytes, limit_s: float = REPLY_LIMIT_S) -> Any:
        try:
            self._connection.send_bytes(message)
        except OSError as error:
            raise VariantFailure(self._cause_of_death()) from error
        return self._receive(limit_s)

    def _receive(self, limit_s: float = REPLY_LIMIT_S) -> Any:
        try:
            if not self._connection.poll(limit_s):
                self._process.kill()
                raise VariantFailure(f"no answer within {limit_s:.0f} s")
            succeeded, answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise VariantFailure(self._cause_of_death()) from error
        if not succeeded:
            raise VariantFailure(answer)
        return answer

    def _cause_of_death(self) -> str:
        deadline = time.monotonic() + 10
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        code = self._process.returncode
        if code is None or code >= 0:
            return f"its process ended with exit code {code}: {self._last_line()}"
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"its process was ended by {signal.Signals(-code).name}{hint} {self._last_line()}".rstrip()

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


def _message(verb: str, *arguments: Any) -> bytes:
    try:
        return pickle.dumps((verb, arguments))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise VariantFailure(f"another process cannot import its factory: {error}") from error

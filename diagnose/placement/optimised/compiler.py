"""The process that runs ONNX Runtime's optimiser for us: started once, serves many graphs, may crash or be stopped.

ONNX Runtime 1.31.1 ends the process on some graphs (a SimplifiedLayerNormalization inside a local function) and does
not end at all on others. In a process of its own either becomes an answer, and it starts while the model is read.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import selectors
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

_WORKER = "onnxfix.diagnose.placement.optimised.compile_worker"


class RefusedError(Exception):
    """The runtime's own message on why it does not load the graph."""


class CrashedError(Exception):
    """The runtime ended its process. The text is one clause: `crashed with signal 11`."""


class Compiler:
    """A worker process that writes the graph at the partition boundary of files it is given, one at a time.

    For one thread: `begin` and `finish` belong together.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the process, or do nothing while it runs; it imports the runtime in the background."""
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-P", "-m", _WORKER]
            pipe, null = subprocess.PIPE, subprocess.DEVNULL
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null, text=True)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()

    def begin(self, source: Path, result: Path, libraries: Sequence[Path], fused: bool = False) -> None:
        """Send a graph, to be waited for with `finish`; nothing else may be sent in between.

        `fused`: optimise it as a session on the CPU does, and not only up to the partition boundary.
        """
        self.start()
        process = self._process
        assert process is not None and process.stdin is not None
        request = {
            "source": str(source),
            "result": str(result),
            "libraries": [str(p.resolve()) for p in libraries],
            "fused": fused,
        }
        with contextlib.suppress(OSError):  # a process that is gone is seen by `finish`
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()

    def finish(self, timeout: float) -> None:
        """Wait for the graph that was begun; as `compile`."""
        answer = self._answer(timeout)
        if answer["error"]:
            raise RefusedError(answer["error"])

    def compile(
        self, source: Path, result: Path, libraries: Sequence[Path], timeout: float, fused: bool = False
    ) -> None:
        """Write the boundary graph of `source`, or the `fused` one, to `result`; `timeout` is in seconds.

        Raises RefusedError with the runtime's message, CrashedError, and TimeoutError.
        """
        self.begin(source, result, libraries, fused)
        self.finish(timeout)

    def _answer(self, timeout: float) -> dict[str, str]:
        process = self._process
        assert process is not None and process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                self.stop()
                raise TimeoutError
        line = process.stdout.readline()
        if not line:
            raise self._crash(process)
        answer: dict[str, str] = json.loads(line)
        return answer

    def _crash(self, process: subprocess.Popen[str]) -> CrashedError:
        code = process.wait()
        self.stop()
        return CrashedError(f"crashed with signal {-code}" if code < 0 else f"ended with code {code}")


def shared() -> Compiler:
    """The compiler of this thread; its worker ends with the process, or when it is stopped.

    One a thread, since a request and its answer belong together and threads would take each other's.
    """
    made: Compiler | None = getattr(_OF_THREAD, "compiler", None)
    if made is None:
        made = _OF_THREAD.compiler = Compiler()
        atexit.register(made.stop)
    return made


_OF_THREAD = threading.local()

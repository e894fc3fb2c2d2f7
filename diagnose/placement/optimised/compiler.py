"""The process that runs ONNX Runtime's optimiser for us: started once, serves many graphs, may crash or be stopped.

ONNX Runtime 1.31.1 ends the process on some graphs (a SimplifiedLayerNormalization inside a local function) and does
not end at all on others. In a process of its own either becomes an answer, and it starts while the model is read.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

from onnxfix.nouns.process.children import Child

# Tensors past this size are written nowhere: they were holes, or were folded from some.
INLINE_BYTES = 1024

_WORKER = "onnxfix.diagnose.placement.optimised.compile_worker"


class Compiler:
    """A worker process that writes the graph at the partition boundary of files it is given, one at a time.

    For one thread: `begin` and `finish` belong together.
    """

    def __init__(self) -> None:
        self._child: Child | None = None

    def start(self) -> Child:
        """Start the process, or do nothing while it runs; it imports the runtime in the background."""
        if self._child is None or not self._child.alive():
            self.stop()
            self._child = Child(_WORKER)
        return self._child

    def stop(self) -> None:
        if self._child is not None:
            self._child.close()

    def begin(self, source: Path, result: Path, libraries: Sequence[Path], fused: bool = False) -> None:
        """Send a graph, to be waited for with `finish`; nothing else may be sent in between.

        `fused`: optimise it as a session on the CPU does, and not only up to the partition boundary.
        """
        most = None if fused else INLINE_BYTES
        self.start().send((source, result, [path.resolve() for path in libraries], most))

    def finish(self, timeout: float) -> None:
        """Wait for the graph that was begun; as `compile`."""
        assert self._child is not None
        self._child.answer(timeout)

    def compile(
        self, source: Path, result: Path, libraries: Sequence[Path], timeout: float, fused: bool = False
    ) -> None:
        """Write the boundary graph of `source`, or the `fused` one, to `result`; `timeout` is in seconds.

        Raises RefusedError with the runtime's message, CrashedError, and TimeoutError.
        """
        self.begin(source, result, libraries, fused)
        self.finish(timeout)

    def __del__(self) -> None:
        self.stop()


def shared() -> Compiler:
    """The compiler of this thread; its worker ends with the process, or when it is stopped.

    One a thread, since a request and its answer belong together and threads would take each other's.
    """
    made: Compiler | None = getattr(_OF_THREAD, "compiler", None)
    if made is None:
        made = _OF_THREAD.compiler = Compiler()
        _ALL.add(made)
    return made


def _stop_all() -> None:
    for compiler in list(_ALL):
        compiler.stop()


_OF_THREAD = threading.local()
# weakly: a thread that ends takes its compiler with it, which a server of many threads needs
_ALL: weakref.WeakSet[Compiler] = weakref.WeakSet()
atexit.register(_stop_all)

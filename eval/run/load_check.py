"""Load a model in a process of its own: ONNX Runtime ends the process on some graphs instead of refusing them.

Seen with 1.31.1: a bidirectional GRU behind a Conv in fp16, with all optimisations, and a SplitToSequence into pieces
of no element, a division by zero. This module is the worker too.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Sequence
from pathlib import Path

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.process.children import Child, CrashedError, RefusedError


class LoadCheck:
    """One process for the models of one job, started with the first of them."""

    def __init__(self, custom_op_libraries: Sequence[Path] = ()) -> None:
        self._libraries = tuple(custom_op_libraries)
        self._child: Child | None = None

    def require_survival(self, model: Path, what: str, advice: str) -> None:
        """Raise OnnxfixError when loading a model with all optimisations ends the process by a signal. Whatever else
        may go wrong with it is left to whoever loads it next."""
        if self._child is None:
            self._child = Child(__name__)
            self._end = weakref.finalize(self, self._child.close)
        try:
            with contextlib.suppress(RefusedError):
                self._child.ask((model, self._libraries))
        except (CrashedError, TimeoutError) as error:
            self.close()
            if isinstance(error, CrashedError) and error.by_signal:
                raise OnnxfixError(f"ONNX Runtime crashes when it loads {what}: it {error}", advice) from error

    def close(self) -> None:
        """End the process; the next model starts another."""
        if self._child is not None:
            self._end()
            self._child = None

    def __enter__(self) -> LoadCheck:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def answer(request: tuple[Path, tuple[Path, ...]]) -> None:
    """Load, and nothing else."""
    from .runners import OrtRunner

    path, libraries = request
    OrtRunner(path, level="all", custom_op_libraries=libraries).close()

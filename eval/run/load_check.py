"""Load a model in a process of its own: ONNX Runtime ends the process on some graphs instead of refusing them.

Seen with 1.31.1: a bidirectional GRU behind a Conv in fp16, with all optimisations. This module is the worker too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.process.children import Child, CrashedError, RefusedError


def require_survival(model: Path, custom_op_libraries: Sequence[Path] = ()) -> None:
    """Raise OnnxfixError when loading a model with all optimisations ends the process by a signal. Whatever else may go
    wrong with it is left to whoever loads it next."""
    with Child(__name__) as child, contextlib.suppress(RefusedError, TimeoutError):
        try:
            child.ask((model, tuple(custom_op_libraries)))
        except CrashedError as error:
            if error.by_signal:
                raise OnnxfixError(
                    f"ONNX Runtime crashes when it loads the repaired model with all optimisations: it {error}",
                    f"nothing was written; a newer ONNX Runtime may load it, {arg('verify', False)} writes it as it is",
                ) from error


def answer(request: tuple[Path, tuple[Path, ...]]) -> None:
    """Load, and nothing else."""
    from .runners import OrtRunner

    path, libraries = request
    OrtRunner(path, level="all", custom_op_libraries=libraries).close()

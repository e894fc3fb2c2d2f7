"""Load a model in a process of its own: ONNX Runtime ends the process on some graphs instead of refusing them.

Seen with 1.31.1: a bidirectional GRU behind a Conv in fp16, with all optimisations. Run as a module this is that
process; it says nothing, and its exit code tells whether it lived.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from onnxfix.nouns.errors import OnnxfixError, arg


def require_survival(model: Path, custom_op_libraries: Sequence[Path] = ()) -> None:
    """Raise OnnxfixError when loading a model with all optimisations ends the process by a signal. Whatever else may go
    wrong with it is left to whoever loads it next."""
    command = [sys.executable, "-P", "-m", __name__, str(model), *map(str, custom_op_libraries)]
    null = subprocess.DEVNULL
    code = subprocess.run(command, check=False, stdin=null, stdout=null, stderr=null).returncode
    if code < 0:
        raise OnnxfixError(
            f"ONNX Runtime crashes when it loads the repaired model with all optimisations (signal {-code})",
            f"nothing was written; a newer ONNX Runtime may load it, and {arg('verify', False)} writes it as it is",
        )


def main() -> None:
    from .runners import OrtRunner

    path, *libraries = map(Path, sys.argv[1:])
    with contextlib.suppress(OnnxfixError):
        OrtRunner(path, level="all", custom_op_libraries=libraries).close()


if __name__ == "__main__":
    main()

"""Running `onnxfix` in this process as the shell would: arguments in; exit code, stdout and stderr out."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

from onnxfix.cli.main import main


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def onnxfix(*arguments: str | Path, cwd: Path | None = None) -> Done:
    """Importing the libraries costs two seconds a process; the entry point itself is the same."""
    out, err = io.StringIO(), io.StringIO()
    where = contextlib.chdir(cwd) if cwd else contextlib.nullcontext()
    with where, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(a) for a in arguments])
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
    return Done(code, out.getvalue(), err.getvalue())

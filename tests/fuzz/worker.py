"""The process that runs commands on one file after the other; its end, or its silence, is seen by `campaign`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_BYTES = 6 << 30
"""Address space of data: what the machine is protected by; 2 GB resident is already a failure."""


def main() -> None:
    """A line of JSON in (arguments of the command), one out (what came of it)."""
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    from onnxfix.cli.main import cli

    for line in sys.stdin:
        _forget_peaks()
        found = _outcome(cli, json.loads(line))
        print(json.dumps({**found, "peak": _peak()}), file=answers, flush=True)


def _outcome(cli: Any, arguments: list[str]) -> dict[str, str]:
    from onnxfix.nouns.errors import OnnxfixError, one_line

    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            status = cli.main(args=arguments, prog_name="onnxfix", standalone_mode=False)
        if "json" in arguments:
            json.loads(out.getvalue())
    except OnnxfixError as error:
        return {"outcome": "exit 2", "what": one_line(error)}
    except Exception as error:
        return {"outcome": "internal error", "what": f"{type(error).__name__} at {_place(error)}: {one_line(error)}"}
    return {"outcome": f"exit {status or 0}", "what": ",".join(_codes(out.getvalue())) if "json" in arguments else ""}


def _codes(text: str) -> list[str]:
    found = json.loads(text).get("findings", ())
    return sorted({each["code"] for each in found})


def _place(error: BaseException) -> str:
    """The innermost line of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "site-packages" not in f.filename and "/lib/python" not in f.filename] or frames
    last = ours[-1]
    return f"{Path(last.filename).name}:{last.lineno} {last.name}"


def _processes() -> Iterator[int]:
    yield os.getpid()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with contextlib.suppress(OSError):
            yield from map(int, (task / "children").read_text().split())


def _forget_peaks() -> None:
    for pid in _processes():
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak() -> int:
    """The largest resident size of this process and those that it started, since they were last forgotten."""
    found = [0]
    for pid in _processes():
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return max(found)


if __name__ == "__main__":
    main()

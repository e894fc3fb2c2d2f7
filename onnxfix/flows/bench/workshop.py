"""Makes the files of a sweep: exports, repairs and other people's conversions, each by a command in its own process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXPORTS = {
    "legacy": ("--exporter", "legacy"),
    "dynamo": ("--exporter", "dynamo"),
    "unoptimized": ("--exporter", "dynamo", "--no-optimize"),
}
# Other people's converters on the graph as it is, by the names of surgery.engines.
ALONE = {"onnxconverter-common": "common_fp16", "ORT quantize_dynamic": "runtime_int8_past_inference"}
RECORD = "made.json"
PACKAGES = ("onnxfix", "onnx", "onnxruntime-gpu", "onnxruntime", "torch", "transformers")
# Long enough for 7 billion parameters on a slow disk; what takes longer hangs.
LONGEST_S = 4 * 3600.0
CHILD = "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); from onnxfix.cli.main import main; main()"
CONVERT = (
    "import sys, json, pathlib; sys.path[:] = json.loads(sys.argv[1]); from onnxfix.surgery import engines; "
    "getattr(engines, sys.argv[2])(pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4]))"
)


@dataclass
class Made:
    """A file, or why it could not be made (`failure`, one line); `command` is what a user would type for it."""

    path: Path
    command: str
    failure: str = ""


@dataclass
class Workshop:
    """Makes files in `folder`, each once. `checkpoint`: its source; with `reuse` those of an interrupted run are taken.

    A step that crashes or runs out of memory is a failure of its file alone.
    """

    folder: Path
    checkpoint: Path | None
    factory: str = ""
    verify: bool = True
    reuse: bool = False
    _made: dict[str, Made] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.reuse:  # else an interruption would leave old files that look made
            (self.folder / RECORD).unlink(missing_ok=True)

    def export(self, name: str) -> Made:
        """An export of the checkpoint by one of EXPORTS."""
        path = self.folder / f"{name}.onnx"
        source = [str(self.checkpoint)] if self.checkpoint else []
        factory = ["--factory", self.factory] if self.factory else []
        given = ["export", *source, *factory, "-o", str(path), "--force", *EXPORTS[name], *self._unverified()]
        return self._once(path, given, None)

    def repair(self, export: str, name: str, options: Sequence[str]) -> Made:
        """`onnxfix repair` of an export."""
        path, source = self.folder / f"{name}.onnx", self.export(export)
        given = ["repair", str(source.path), *options, "-o", str(path), "--force", *self._unverified()]
        return self._once(path, given, source)

    def convert(self, export: str, name: str, converter: str) -> Made:
        """Somebody else's converter on an export as it is."""
        path, source = self.folder / f"{name}.onnx", self.export(export)
        return self._once(path, [ALONE[converter], str(source.path), str(path)], source)

    def _unverified(self) -> list[str]:
        return [] if self.verify else ["--no-verify"]

    def _once(self, path: Path, given: Sequence[str], source: Made | None) -> Made:
        if path.name in self._made:
            return self._made[path.name]
        alone = given[0] in ALONE.values()
        command = f"{given[0]} {given[1]}" if alone else " ".join(["onnxfix", *given])
        made = Made(path, command.replace(f"{self.folder}{os.sep}", ""))
        if source is not None and source.failure:
            made.failure = f"{source.path.name} could not be made: {source.failure}"
        elif not (self.reuse and self._is_made(path, given)):
            path.unlink(missing_ok=True)
            made.failure = _run([sys.executable, "-c", CONVERT if alone else CHILD, json.dumps(sys.path), *given], path)
            self._note(path, given, made.failure)
        self._made[path.name] = made
        return made

    def _is_made(self, path: Path, given: Sequence[str]) -> bool:
        note = self._notes().get(path.name)
        return note is not None and note == self._record(given, "") and path.is_file()

    def _record(self, given: Sequence[str], failure: str) -> dict[str, Any]:
        """What a file is made by and from; a failure is tried again, for its cause may be gone."""
        from onnxfix.eval.bench.variant import stamp
        from onnxfix.eval.run.machine import machine

        versions = {name: version for name, version in machine("cpu").items() if name in PACKAGES}
        return {"given": list(given), "checkpoint": stamp(self.checkpoint), "with": versions, "failure": failure}

    def _notes(self) -> dict[str, dict[str, Any]]:
        try:
            found: dict[str, dict[str, Any]] = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def _note(self, path: Path, given: Sequence[str], failure: str) -> None:
        notes = self._notes() | {path.name: self._record(given, failure)}
        stage = self.folder / f".{RECORD}"
        stage.write_text(json.dumps(notes, indent=1), encoding="utf-8")
        stage.replace(self.folder / RECORD)


def _run(command: Sequence[str], path: Path) -> str:
    """Why the command did not make the file, in one line; empty where it did. Findings (exit code 1) are no failure."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=LONGEST_S
        )
    except subprocess.TimeoutExpired:
        path.unlink(missing_ok=True)
        return f"the process that made it took more than {LONGEST_S / 3600:.0f} hours"
    if path.is_file() and done.returncode in (0, 1):
        return ""
    path.unlink(missing_ok=True)
    if done.returncode < 0:
        hint = " (out of memory?)" if -done.returncode == signal.SIGKILL else ""
        return f"the process that made it was ended by {signal.Signals(-done.returncode).name}{hint}"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return _plain(lines[-1]) if lines else f"exit code {done.returncode}"


def _plain(line: str) -> str:
    """The message of an error as the command line and as a traceback print it."""
    return line.removeprefix("onnxfix: error: ").removeprefix("onnxfix.nouns.errors.OnnxfixError: ")[:300]

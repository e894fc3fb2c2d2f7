"""Makes the files of a sweep: exports, repairs and other people's conversions, each in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.process.children import Child, CrashedError

Options = Mapping[str, Any]
"""Of a command, by the names of its long flags with underscores; False is the flag that begins with `no-`."""
EXPORTS: dict[str, Options] = {
    "legacy": {"exporter": "legacy"},
    "dynamo": {"exporter": "dynamo"},
    "unoptimized": {"exporter": "dynamo", "optimize": False},
}
# Other people's converters on the graph as it is, by the names of surgery.engines.
ALONE = {"onnxconverter-common": "common_fp16", "ORT quantize_dynamic": "runtime_int8_past_inference"}
RECORD = "made.json"
PACKAGES = ("onnxfix", "onnx", "onnxruntime-gpu", "onnxruntime", "torch", "transformers")


def words(options: Options) -> list[str]:
    """Options as a user would type them."""
    found = []
    for name, value in options.items():
        flag = f"--{'no-' if value is False else ''}{name.replace('_', '-')}".replace("--output", "-o")
        found += [flag] if isinstance(value, bool) else [flag, str(value)]
    return found


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
            (self.folder / RECORD).write_text("{}", encoding="utf-8")  # and it says whose the folder is

    def export(self, name: str) -> Made:
        """An export of the checkpoint by one of EXPORTS."""
        factory = {"factory": self.factory} if self.factory else {}
        options = {**factory, **self._written(name), **EXPORTS[name], **self._unverified()}
        return self._once("export", self.checkpoint, options, None)

    def repair(self, export: str, name: str, options: Options, verb: str = "repair") -> Made:
        """`onnxfix repair` of an export, or `optimize`, which always verifies."""
        source = self.export(export)
        checked = self._unverified() if verb == "repair" else {}
        return self._once(verb, source.path, {**options, **self._written(name), **checked}, source)

    def convert(self, export: str, name: str, converter: str) -> Made:
        """Somebody else's converter on an export as it is."""
        source = self.export(export)
        return self._once(ALONE[converter], source.path, self._written(name), source)

    def _written(self, name: str) -> dict[str, Any]:
        return {"output": self.folder / f"{name}.onnx", "force": True}

    def _unverified(self) -> dict[str, Any]:
        return {} if self.verify else {"verify": False}

    def _once(self, verb: str, source: Path | None, options: Options, of: Made | None) -> Made:
        path: Path = options["output"]
        if path.name in self._made:
            return self._made[path.name]
        named = [str(source)] if source is not None else []
        given = [verb, *named, *words(options)]
        command = " ".join([verb, *named] if verb in ALONE.values() else ["onnxfix", *given])
        made = Made(path, command.replace(f"{self.folder}{os.sep}", ""))
        if of is not None and of.failure:
            made.failure = f"{of.path.name} could not be made: {of.failure}"
        elif not (self.reuse and self._is_made(path, given)):
            path.unlink(missing_ok=True)
            made.failure = _run((verb, source, dict(options)), path)
            self._note(path, given, made.failure)
        self._made[path.name] = made
        return made

    def _is_made(self, path: Path, given: Sequence[str]) -> bool:
        note = self._notes().get(path.name)
        return note is not None and note == self._record(path, given, "") and path.is_file()

    def _record(self, path: Path, given: Sequence[str], failure: str) -> dict[str, Any]:
        """A file, and what it is made by and from; a failure is tried again, for its cause may be gone."""
        from onnxfix.eval.bench.digest import of_checkpoint, of_code, of_model
        from onnxfix.eval.run.machine import machine

        versions = {name: version for name, version in machine("cpu").items() if name in PACKAGES}
        read = of_checkpoint(self.checkpoint) + (of_code(self.factory) if self.factory else "")
        made = of_model(path)
        return {"given": list(given), "checkpoint": read, "with": versions, "failure": failure, "file": made}

    def _notes(self) -> dict[str, dict[str, Any]]:
        try:
            found: dict[str, dict[str, Any]] = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def _note(self, path: Path, given: Sequence[str], failure: str) -> None:
        notes = self._notes() | {path.name: self._record(path, given, failure)}
        stage = self.folder / f".{RECORD}"
        stage.write_text(json.dumps(notes, indent=1), encoding="utf-8")
        stage.replace(self.folder / RECORD)


def _run(request: tuple[str, Path | None, dict[str, Any]], path: Path) -> str:
    """Why a file was not made, in one line; empty where it was. Findings of it are no failure."""
    failure = "nothing was written"
    try:
        with Child("onnxfix.flows.bench.maker") as child:
            child.ask(request)
        if path.is_file():
            return ""
    except (CrashedError, TimeoutError) as error:
        failure = f"the process that made it {error}"
        for stage in path.parent.glob(".onnxfix-*"):
            shutil.rmtree(stage, ignore_errors=True)
    except OnnxfixError as error:
        failure = error.sentence.marked
    path.unlink(missing_ok=True)
    return failure

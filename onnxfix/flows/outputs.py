"""Outputs: where a call writes, refused before any work where that would lose what it reads or what is not ours."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.weights.pairs import data_of
from onnxfix.nouns.weights.placing import conventional

from .values import several

READ = (
    "model", "models", "against", "feeds", "calibrate", "script", "script_last", "custom_op_library", "checkpoint",
    "data", "baseline",
)  # fmt: skip
"""Keywords of all jobs that may name what is read."""
# How reports of ours begin, by which one may replace another: JSON, SARIF, Markdown, a page, text.
_MARKS = (b'"schema": "onnxfix.', b'"name": "onnxfix"', b"### onnxfix: ", b'name="generator" content="onnxfix"')
_TEXTS = ((b"\nplacement on ", b"\nlinears: "), (" → ".encode(), b" on disk; weights "))
_HEAD = 65536
_MADE = (".onnx", ".data", ".npz")
"""Endings of what lies in a checkpoint's folder and is not read from there."""


def path_of(name: str, value: Any, what: str = "a file") -> Path | None:
    """The path that a keyword names, None for none. Raises OnnxfixError for what is no path, or empty."""
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike) or str(value) in ("", "-"):
        raise OnnxfixError(f"{arg(name, value)} is no path", f"name {what}")
    return Path(value)


def keep_inputs(written: Mapping[str, Path | None], read: Mapping[str, Any]) -> None:
    """Raise OnnxfixError where a file to be written, by its keyword, is one that the call reads: `read` are its
    keywords, of which those of READ are looked at."""
    sources = list(_sources(read))
    for keyword, path in written.items():
        if path is None:
            continue
        for file in (path, conventional(path)) if path.suffix == ".onnx" else (path,):
            for source in sources:
                if _is_of(file, source):
                    raise OnnxfixError(f"{file} is read by this very call", f"give another {arg(keyword)}")


def keep_foreign(keyword: str, path: Path, force: bool, *, forced: bool = True) -> None:
    """Raise OnnxfixError for a file to be written that is there and no report of ours. `forced`: whether the job has
    the keyword `force`."""
    if path.is_dir():
        raise OnnxfixError(f"{path} is a folder", f"name a file with {arg(keyword)}")
    if path.exists() and not force and not _is_report(path):
        way = f"use {arg('force', True)}, or name another file with {arg(keyword)}"
        raise OnnxfixError(f"{path} exists and is no report of onnxfix", way if forced else way.partition(", or ")[2])


def keep_folder(folder: Path, files: Iterable[str], force: bool) -> None:
    """Raise OnnxfixError where the folder of a report holds files or folders of these names that no bench made."""
    signs = (folder / "parts" / "bench.json", folder / "models" / "made.json")
    if force or any(sign.is_file() for sign in signs) or _is_report(folder / "summary.json"):
        return
    for name in files:
        file = folder / name
        if os.path.lexists(file) and not (file.is_dir() and not any(file.iterdir())):
            raise OnnxfixError(
                f"{file} exists and no bench made it",
                f"use {arg('force', True)}, or give another {arg('output')}",
            )


def _is_report(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    texts = (all(mark in head for mark in marks) for marks in _TEXTS)
    return not head.strip() or any(mark in head for mark in _MARKS) or any(texts)


def _sources(read: Mapping[str, Any]) -> Iterator[Path]:
    for keyword in READ:
        given = read.get(keyword)
        for each in given.values() if isinstance(given, Mapping) else several(given):
            if isinstance(each, str | os.PathLike) and str(each):
                path = Path(each)
                yield from (path, Path(str(each).rpartition(":")[0] or each))  # FILE.py:FUNCTION
                if path.is_file() and path.suffix == ".onnx":
                    yield from (path.parent / name for name in data_of(path))


def _is_of(file: Path, source: Path) -> bool:
    if not file.exists() or not source.exists():
        return False
    if source.is_dir():
        return file.resolve().is_relative_to(source.resolve()) and file.suffix not in _MADE
    return file.samefile(source)

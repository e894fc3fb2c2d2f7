"""Digest: what is in a file, by its content. Sizes and times of modification say nothing: copies keep both."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model


def of_file(path: Path) -> str:
    """SHA-256 of the content; empty where there is no such file."""
    if not path.is_file():
        return ""
    status = path.stat()
    # no program can set the time of the last change to the file (ctime), as it can that of modification
    return _read(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


def of_model(path: Path) -> str:
    """Of an ONNX file and of its external data; of the file alone where it cannot be parsed."""
    return of_files([path, *_data_files(path, of_file(path))])


def of_checkpoint(folder: Path | None) -> str:
    """Of what a loader reads in a folder: its files, and those of the folders that its modules.json names."""
    if folder is None or not folder.is_dir():
        return ""
    folders = [folder, *(folder / name for name in _modules(folder / "modules.json"))]
    return of_files(sorted({path for each in folders if each.is_dir() for path in each.iterdir() if path.is_file()}))


def of_code(source: Callable[..., Any] | str) -> str:
    """Of the file that a function or class, or `module:function`, stands in; empty where it is not a Python file."""
    if isinstance(source, str):
        name = source.partition(":")[0].replace(".", "/")
        places = (
            Path(entry or ".") / end for entry in ("", *sys.path) for end in (f"{name}.py", f"{name}/__init__.py")
        )
        return next((of_file(place) for place in places if place.is_file()), "")
    while isinstance(source, functools.partial):
        source = source.func
    try:
        return of_file(Path(inspect.getfile(source)))
    except (TypeError, OSError):
        return ""


def of_files(paths: Iterable[Path]) -> str:
    """Of several files, by name and content."""
    found = "\n".join(f"{path.name} {of_file(path)}" for path in paths)
    return hashlib.sha256(found.encode()).hexdigest()


@functools.cache
def _read(path: Path, _identity: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def _data_files(path: Path, _digest: str) -> tuple[Path, ...]:
    try:
        return tuple(sorted(Model.open(path).external_files))
    except OnnxfixError:
        return ()


def _modules(listing: Path) -> list[str]:
    """Folders of the parts of a sentence-transformers model."""
    try:
        found = json.loads(listing.read_text(encoding="utf-8"))
        return [str(each["path"]) for each in found if each.get("path")]
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return []

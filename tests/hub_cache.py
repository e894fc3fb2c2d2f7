"""A cache as huggingface_hub lays it out, filled without network: models--org--name/{refs,blobs,snapshots}."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


class Cached:
    """A repository `org/name` in a cache: commits are snapshots of links to blobs, refs are files with their hashes."""

    def __init__(self, cache: Path, name: str) -> None:
        self.folder = cache / f"models--{name.replace('/', '--')}"
        for part in ("refs", "blobs", "snapshots"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)

    def commit(self, source: Path, *refs: str) -> str:
        """A snapshot of a folder's files, which these branches name; its hash."""
        files = sorted(path for path in source.rglob("*") if path.is_file())
        digest = hashlib.sha1(b"".join(f"{path}{path.stat().st_size}".encode() for path in files)).hexdigest()
        for path in files:
            blob = self.folder / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
            blob.write_bytes(path.read_bytes())
            link = self.folder / "snapshots" / digest / path.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
        for ref in refs:
            (self.folder / "refs" / ref).write_text(digest)
        return digest

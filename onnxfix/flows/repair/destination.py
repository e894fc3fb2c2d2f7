"""Destination: the file that a result takes, and the folder beside it that all is staged in first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model, staged
from onnxfix.nouns.process.scratch import Scratch
from onnxfix.nouns.provenance import REPAIR


def check(destination: Path, source: Path, force: bool) -> None:
    """A new file, or an earlier result of ours: nothing that somebody else made is lost without a word."""
    if destination.is_dir():
        raise OnnxfixError(
            f"{destination} is a folder", f"name a file, as in {arg('output', destination / source.name)}"
        )
    if not destination.exists():
        return
    if destination.samefile(source):
        raise OnnxfixError(f"{destination} is the source model", f"give another {arg('output')}")
    if not force and not _is_ours(destination):
        raise OnnxfixError(
            f"{destination} exists and is no result of repair",
            f"use {arg('force', True)}, or give another {arg('output')}",
        )


@contextlib.contextmanager
def stage(destination: Path, dry_run: bool) -> Iterator[Path]:
    """A folder to write to first: beside the destination, so that moving is one rename, or anywhere for a dry run."""
    if dry_run:
        with Scratch() as folder:
            yield folder
        return
    if not destination.parent.is_dir():
        raise OnnxfixError(f"folder {destination.parent} does not exist", f"create it or give another {arg('output')}")
    with staged(destination.parent) as folder:
        yield folder


def _is_ours(path: Path) -> bool:
    try:
        return REPAIR in Model.open(path).ir.metadata_props
    except OnnxfixError:
        return False

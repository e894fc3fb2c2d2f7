"""Pieces of a folder: whether a file there may stay, and how one comes into it whole."""

from __future__ import annotations

import json
from pathlib import Path

from onnxfix.export.hub.known_files import CONFIG
from onnxfix.nouns.weights import placing


def holds(file: Path, content: bytes) -> bool:
    """Whether a file may stay; of a config what it says and not how it is written."""
    there = file.read_bytes() if file.is_file() else b""
    if file.name != CONFIG or there == content:
        return there == content
    try:
        return bool(json.loads(there) == json.loads(content))
    except ValueError:
        return False


def put(stage: Path, file: Path, content: bytes) -> None:
    if holds(file, content):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    made = stage / "sidecar"
    made.write_bytes(content)
    made.replace(file)


def moved(graph: Path, weights: Path, target: Path, data: str) -> None:
    placing.bind(graph, weights, data)
    weights.replace(target.with_name(data))
    graph.replace(target)

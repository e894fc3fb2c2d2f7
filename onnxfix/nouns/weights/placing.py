"""Placing: a graph and its data move from a staging folder to where they shall be, in a step that is one to whoever
reads them.

No system renames two files at once. So the data never takes the place of data that a graph there refers to: it gets a
name that is free, MODEL.onnx.data (what the field calls it) or MODEL.onnx.2.data and so on where that is the data of
the graph which is replaced; then the graph is renamed over the old one, which changes both; then the old data goes.
Whoever is killed in between leaves the old pair or the new one, and a file too many, which `scratch` notes and the next
process removes.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.process import scratch

from . import pairs


def conventional(graph: Path) -> Path:
    """Where the weights of a graph lie unless they have to lie elsewhere."""
    return graph.with_name(f"{graph.name}.data")


def refuse_foreign(destination: Path, force: bool) -> None:
    """Raise OnnxfixError for a data file that the graph at `destination` has nothing to do with."""
    data = conventional(destination)
    if not force and os.path.lexists(data) and data.name not in pairs.data_of(destination):
        raise OnnxfixError(
            f"{data}, where the weights would lie, exists and is no data of {destination.name}",
            f"use {arg('force', True)}, or give another {arg('output')}",
        )


def place(graph: Path, data: Iterable[Path], destination: Path, *, force: bool = False) -> None:
    """Move a staged graph, and the file of its data if it has one, to `destination`, over what is there.

    Raises OnnxfixError for a data file of somebody else in the way, and OSError; nothing has changed then.
    """
    named, weights = pairs.data_of(destination), next(iter(data), None)
    old = [destination.with_name(name) for name in sorted(named) if _goes(name, destination)]
    sizes = {file.name: file.stat().st_size for file in old}
    if weights is not None:
        refuse_foreign(destination, force)
        file = _free(destination, named)
        bind(graph, weights, file.name)
        if not os.path.lexists(file):
            sizes[file.name] = weights.stat().st_size
            scratch.leaves(graph.parent, destination, sizes)
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # nobody else takes the name now
        weights.replace(file)
    scratch.leaves(graph.parent, destination, sizes)
    graph.replace(destination)
    for file in old:
        with contextlib.suppress(OSError):
            file.unlink()


def _goes(data: str, graph: Path) -> bool:
    """Whether a data file is of a graph alone, by its name and by what lies beside them: graphs may share one."""
    if not (data.startswith(f"{graph.name}.") and data.endswith(".data") and (graph.parent / data).is_file()):
        return False
    others = (each for each in graph.parent.glob("*.onnx") if each.name != graph.name)
    return not any(data in pairs.data_of(each) for each in others)


def _free(graph: Path, named: frozenset[str]) -> Path:
    """A name for the data of the graph that shall be in place of one that refers to data of these names."""
    if (first := conventional(graph)).name not in named:
        return first
    numbered = (graph.with_name(f"{graph.name}.{number}.data") for number in itertools.count(2))
    return next(file for file in numbered if file.name not in named and not os.path.lexists(file))


def bind(graph: Path, data: Path, name: str) -> None:
    """Let a staged graph's weights lie in a file of this name, which will hold what `data` holds."""
    import onnx

    proto = onnx.load_model_from_string(graph.read_bytes())
    pairs.bind(proto, data, name)
    graph.write_bytes(proto.SerializeToString())

"""Laid: a result on its way into a library's folder, refused before any work where something would be lost.

A folder that is new appears whole, in one rename. In one that is there each file appears whole: what lies beside the
graph first and the graph last, so that whoever sees it can load it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxfix.export.hub.known_files import CONFIG, FAST_TOKENIZER, VOCABULARIES
from onnxfix.export.models.checkpoint import config_of
from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model, staged
from onnxfix.nouns.weights import placing

from . import sidecars
from .axes import CACHE
from .layout import Layout, Name, named
from .made import Made
from .operators import beyond_the_standard
from .pieces import holds, moved, put


@dataclass(frozen=True)
class Laid:
    """`folder` is what is written, `checkpoint` the folder that its config and tokenizer are copied from."""

    name: Name
    layout: Layout
    folder: Path
    checkpoint: Path
    made: Made
    force: bool = False

    @staticmethod
    def of(name: Name, folder: Path, checkpoint: Path, made: Made, force: bool) -> Laid:
        """Raises OnnxfixError for a config that is none, for what the library lacks, and for files in the way."""
        if folder.suffix == ".onnx" or not folder.name:
            raise OnnxfixError(f"{arg('layout', name)} makes a folder", f"name it, as in {arg('output', 'served')}")
        if folder.exists() and not folder.is_dir():
            raise OnnxfixError(f"{folder} is a file", f"name a folder with {arg('output')}")
        if not folder.parent.is_dir():
            raise OnnxfixError(f"folder {folder.parent} does not exist", f"create it or give another {arg('output')}")
        laid = Laid(name, named(name), folder, checkpoint, made, force)
        if not laid.own.get("model_type"):
            raise OnnxfixError(
                f"{checkpoint / CONFIG} names no model_type, by which {name} chooses a class", "add it there"
            )
        laid._refuse()
        return laid

    @property
    def own(self) -> dict[str, Any]:
        """The checkpoint's config."""
        return config_of(self.checkpoint)

    @property
    def graph(self) -> Path:
        return self.folder / self.layout.graph(self.made)

    def files(self, data: bool = False) -> dict[str, bytes]:
        """What lies beside the graph, by its path in the folder. `data`: whether the graph's weights do, too."""
        found = {name: (self.checkpoint / name).read_bytes() for name in self.layout.files(self.checkpoint)}
        own, earlier = self.own, self._earlier()
        config = self.layout.config(own, self.graph.name, data, earlier)
        if config != own:
            found[CONFIG] = (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()
        return found

    def check(self, outputs: Iterable[str], inputs: Iterable[str]) -> None:
        """Raise OnnxfixError for a graph whose outputs are not those that the library reads."""
        self.layout.check(list(outputs), self.own, _with_past(inputs))

    @contextlib.contextmanager
    def stage(self) -> Iterator[Path]:
        """A folder to write the graph to first, from where all moves in renames. Raises OnnxfixError."""
        if not self.folder.is_dir():
            with staged(self.folder.parent) as folder:
                yield folder
            return
        home = self.graph.parent
        new = not home.is_dir()
        try:
            if new:
                home.mkdir()
            with staged(home) as folder:
                yield folder
        finally:
            with contextlib.suppress(OSError):
                if new:
                    home.rmdir()  # where nothing was placed in it

    def place(self, graph: Path, data: Iterable[Path]) -> Path:
        """Move a staged graph, and the file of its weights if it has one, into the folder with all that goes beside
        it. Raises OnnxfixError for what has come in the way since, and OSError."""
        graph, weights = self._adapted(graph, next(iter(data), None))
        self._refuse(weights is not None)
        files = self.files(weights is not None)
        if self.folder.is_dir():
            for name, content in files.items():
                put(graph.parent, self.folder / name, content)
            self._beside(graph, weights)
            return self.graph
        tree = graph.parent / "laid"
        target = tree / self.graph.relative_to(self.folder)
        target.parent.mkdir(parents=True)
        for name, content in files.items():
            put(graph.parent, tree / name, content)
        if weights is not None:
            moved(graph, weights, target, self._data)
        else:
            graph.replace(target)
        tree.rename(self.folder)
        return self.graph

    def loads(self, outputs: Iterable[str], inputs: Iterable[str]) -> str:
        """The expression that loads the folder."""
        return self.layout.loads(str(self.folder), self.made, list(outputs), self.own, _with_past(inputs))

    def notes(self, model: Model) -> list[str]:
        """What whoever loads the folder must know of a graph, in words."""
        found = []
        if not sidecars.there(self.checkpoint, (FAST_TOKENIZER, *VOCABULARIES)):
            found.append(f"{self.checkpoint} has no tokenizer: who loads the folder gives token ids")
        return [*found, *filter(None, [self.layout.lacks(beyond_the_standard(model))])]

    def loads_of(self, model: Model) -> str:
        """The expression that loads a graph of this interface."""
        outputs, inputs = ([str(v.name) for v in values] for values in (model.graph.outputs, model.graph.inputs))
        return self.loads(outputs, inputs)

    @property
    def _data(self) -> str:
        return f"{self.graph.name}{self.layout.data}"

    def _adapted(self, graph: Path, weights: Path | None) -> tuple[Path, Path | None]:
        model = self.layout.adapt(graph)
        if model is None:
            return graph, weights
        file = model.write(graph.with_name(f"adapted-{graph.name}"))
        data = placing.conventional(file)
        return file, data if data.exists() else None

    def _beside(self, graph: Path, weights: Path | None) -> None:
        if weights is None or self._data == placing.conventional(self.graph).name:
            placing.place(graph, [weights] if weights else [], self.graph, force=self.force)
            return
        # the library looks for this name alone, so that no second pair fits beside an old one: its graph goes first
        self.graph.unlink(missing_ok=True)
        moved(graph, weights, self.graph, self._data)

    def _earlier(self) -> dict[str, Any]:
        there = self.folder / CONFIG
        return config_of(self.folder) if there.is_file() else {}

    def _refuse(self, data: bool = False) -> None:
        """Raise OnnxfixError for files that would be lost; a config that says more of other graphs is not."""
        way = f"use {arg('force', True)}, or give another {arg('output')}"
        for file in (self.graph, self.graph.with_name(self._data)):
            if file.exists() and not self.force:
                raise OnnxfixError(f"{file} exists already", way)
        plain = self.files()
        for name, content in self.files(data).items():
            file = self.folder / name
            if not file.exists() or holds(file, content):
                continue
            if (own := self.checkpoint / name).exists() and file.samefile(own):
                raise OnnxfixError(f"{file} is the checkpoint's and would be changed", f"give another {arg('output')}")
            if not self.force and not holds(file, plain[name]):
                raise OnnxfixError(f"{file} exists already and says something else", way)


def _with_past(inputs: Iterable[str]) -> bool:
    return any(name.startswith(CACHE) for name in inputs)

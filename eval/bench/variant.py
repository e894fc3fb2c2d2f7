"""Variant: one thing to bench, a torch module or an ONNX file, described so that another process can load it."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass
from pathlib import Path

from onnx_ir import Graph

from onnxfix.eval.run.engine import Engine, Source
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.surgery.sites.tokens.packed.packs import packs

from . import digest

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Variant:
    """`source` is the file that the engine runs, or the factory of its torch module."""

    name: str
    engine: Engine
    source: Source
    exporter: str = ""
    verified: str = ""
    """How the file was verified when it was made, as its provenance says."""
    note: str = ""
    made_by: str = ""
    """The command that made the file."""
    failure: str = ""
    """Why it could not even be made: a row all the same."""
    stamp: str = ""
    """Of what a factory reads: changes when the checkpoint or its code does."""

    needs: tuple[str, ...] = ()
    """Inputs that a torch module must be given."""

    def fingerprint(self) -> str:
        """Changes when what is measured does: what is in the file and its data, the factory, or how it is run."""
        how = f"{self.engine} {self.failure} {self.stamp}"
        if isinstance(self.source, Path):
            return f"{how} {self.source} {digest.of_model(self.source)}"
        try:
            what = hashlib.sha256(pickle.dumps(self.source)).hexdigest()
        except (pickle.PicklingError, AttributeError, TypeError):  # its row will say that it cannot be sent
            what = self.name
        return f"{how} {what} {digest.of_code(self.source)}"

    def inputs(self) -> list[str]:
        """Input names of an ONNX file, or those that a torch module needs where that is known."""
        graph = self._graph()
        return [str(value.name) for value in graph.inputs] if graph is not None else list(self.needs)

    def file_outputs(self) -> list[str]:
        """Output names of an ONNX file; none for torch and for a file that cannot be read."""
        graph = self._graph()
        return [str(value.name) for value in graph.outputs] if graph is not None else []

    def packs(self) -> bool:
        """Whether it computes on the real tokens of a batch alone, as an ONNX file that pack-tokens made does."""
        if not isinstance(self.source, Path) or self.failure:
            return False
        try:
            return packs(Model.open(self.source))
        except OnnxfixError:
            return False

    def _graph(self) -> Graph | None:
        if not isinstance(self.source, Path) or self.failure:
            return None
        try:
            return Model.open(self.source).graph
        except OnnxfixError:
            return None

    def file_bytes(self) -> int | None:
        """Bytes on disk of an ONNX file with its external data, of the file alone when it cannot be parsed.

        None for torch, whose size is that of the loaded weights, and for a file that does not exist.
        """
        if not isinstance(self.source, Path) or self.failure:
            return None
        try:
            return Model.open(self.source).file_bytes
        except OnnxfixError:
            return self.source.stat().st_size if self.source.is_file() else None

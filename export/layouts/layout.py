"""A layout: where the graph goes in a folder and what it is called, which files lie beside it, and who loads it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from .made import Made

if TYPE_CHECKING:
    from onnxfix.nouns.model import Model

Name = Literal["optimum", "sentence-transformers", "transformers.js"]
NAMES: tuple[Name, ...] = get_args(Name)


class Layout(Protocol):
    """What a library expects of a folder."""

    data: str
    """What is put behind a graph's name to name the file of its weights."""

    def graph(self, made: Made) -> str:
        """The graph's path in the folder, with forward slashes. Raises OnnxfixError for what the library does not
        run."""

    def files(self, checkpoint: Path) -> list[str]:
        """Paths of what is copied from the checkpoint, those that are there. Raises OnnxfixError where what the
        library cannot do without is not."""

    def check(self, outputs: list[str], config: dict[str, Any], past: bool) -> None:
        """Raise OnnxfixError where the library looks for another output than a graph has. `past`: whether it takes a
        cache of keys and values."""

    def config(self, own: dict[str, Any], graph: str, data: bool, earlier: dict[str, Any]) -> dict[str, Any]:
        """The config.json beside the graph: the checkpoint's, and what the library wants to know of the graph, `data`
        whether its weights lie beside it. `earlier`: the one in the folder, which may say so of other graphs."""

    def adapt(self, graph: Path) -> Model | None:
        """A written graph with the names that the library goes by; None where they are as they shall be."""

    def lacks(self, operators: set[tuple[str, str]]) -> str:
        """What of a graph's operators, domain and name, the library's runtime may not have, in words; empty for none
        that is known."""

    def loads(self, folder: str, made: Made, outputs: list[str], config: dict[str, Any], past: bool) -> str:
        """The expression that loads it."""


def named(name: Name) -> Layout:
    """The layout of a library."""
    module = importlib.import_module(f"{__package__}.{name.replace('-', '_').replace('.', '_')}")
    layout: Layout = module.LAYOUT
    return layout

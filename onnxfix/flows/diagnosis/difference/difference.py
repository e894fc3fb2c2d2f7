"""Difference: all that differs between two models, which shows itself and writes itself in every format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix.render.shown import Shown

from .facts import Fact
from .graph.changes import Count, Modules
from .graph.graphs import Names, Nodes
from .interface import Port
from .placed import Placement
from .weights.changes import Weights

if TYPE_CHECKING:
    from onnxfix.render.shown import Summary

SCHEMA = "onnxfix.diff/1"


@dataclass(frozen=True)
class Side:
    """One of the two models. `bytes`: of the file and its data files."""

    path: str
    nodes: int
    opset: int
    ir_version: int
    bytes: int

    def as_dict(self) -> dict[str, object]:
        return {
            "path": self.path,
            "nodes": self.nodes,
            "opset": self.opset,
            "ir_version": self.ir_version,
            "bytes": self.bytes,
        }


@dataclass(frozen=True, repr=False)
class Difference(Shown):
    """What changed from `before` to `after`.

    `same`: both have the same inputs and outputs, and compute these by the same operators from the same weights. Names
    inside, the order of nodes, how constants are stored, metadata, doc strings and the IR version do not count; they
    stand in `facts` and `names` all the same. `files`: what the models were read from.
    """

    before: Side
    after: Side
    same: bool
    ports: tuple[Port, ...]
    facts: tuple[Fact, ...]
    nodes: Nodes
    names: Names
    operators: tuple[Count, ...]
    modules: Modules
    weights: Weights
    placement: Placement | None = None
    files: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        from .report import verdict

        return f"<Difference of {self.before.path} and {self.after.path}: {verdict.verdict(self)}>"

    def as_dict(self) -> dict[str, object]:
        return {
            "schema": SCHEMA,
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "same": self.same,
            "interface": [port.as_dict() for port in self.ports],
            "facts": [fact.as_dict() for fact in self.facts],
            "nodes": self.nodes.as_dict(),
            "renamed": self.names.as_dict(),
            "operators": [count.as_dict() for count in self.operators],
            "modules": [change.as_dict() for change in self.modules.changed()],
            "weights": self.weights.as_dict(),
            **({"placement": self.placement.as_dict()} if self.placement else {}),
        }

    def to_html(self, every: bool = False) -> str:
        """A page of one file, which loads nothing else. `every`: operators and modules that did not change, too."""
        from .report import page

        return page.page(self, every)

    def to_markdown(self, every: bool = False) -> str:
        """A pull request comment."""
        from .report import comment

        return comment.comment(self, every)

    def in_short(self) -> Summary:
        from onnxfix.render.shown import Summary

        from .report import contents, verdict

        title = f"{self.before.path} → {self.after.path}: {verdict.verdict(self)}"
        return Summary(title, contents.modules(self))

"""Nodes of one name → names of their own, as ONNX Runtime wants them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import Site
from onnxfix.nouns.types.operators import named_twice
from onnxfix.surgery.editor import Editor


@dataclass(frozen=True)
class NameNodesApart:
    """Give the second and every later node of a name one of its own.

    ONNX Runtime refuses a graph with two nodes of one name, which nothing else needs: what a node computes is known by
    its inputs and outputs. The first keeps its name. The figure is the number of nodes whose name another one has.
    """

    name: ClassVar[str] = "name-nodes-apart"
    applicability: ClassVar[Applicability] = Applicability.EXACT
    repairs: ClassVar[tuple[str, ...]] = ("K009",)

    def apply(self, editor: Editor) -> None:
        for nodes in list(named_twice(editor.model.ir.graph)):
            for node in nodes[1:]:
                earlier, node.name = node.name, editor.unique(str(node.name))
                editor.record("rename", Site.of_node(node), f"{earlier} → {node.name}")

    def measure(self, model: Model) -> float:
        return float(sum(len(nodes) - 1 for nodes in named_twice(model.ir.graph)))

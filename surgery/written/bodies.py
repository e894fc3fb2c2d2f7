"""Graphs inside nodes: the body of a loop, or a branch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.surgery.editor import Editor


@dataclass
class Body:
    """Nodes of a graph inside a node, and constants of its own, so that no outer name is read by mistake."""

    editor: Editor
    name: str
    nodes: list[ir.Node] = field(default_factory=list)
    constants: list[ir.Value] = field(default_factory=list)

    def __call__(self, op_type: str, inputs: Sequence[ir.Value | None], what: str, **more: Any) -> ir.Value:
        attributes, domain = more.get("attributes", {}), more.get("domain", "")
        made = ir.Value(name=self.editor.unique(f"{self.name}_{what}"))
        node = ir.Node(
            domain, op_type, inputs, ir.convenience.convert_attributes(dict(attributes)), outputs=[made],
            name=self.editor.unique(f"{self.name}_{op_type}"),
        )  # fmt: skip
        self.nodes.append(node)
        return made

    def integers(self, name: str, numbers: Any) -> ir.Value:
        """An int64 initializer of the graph."""
        array = np.array(numbers, dtype=np.int64)
        tensor = ir.tensor(array)
        value = ir.Value(name=self.editor.unique(f"{self.name}_{name}"), const_value=tensor)
        value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(array.shape)
        self.constants.append(value)
        return value

    def given(self, what: str, kind: ir.DataType, shape: Sequence[int]) -> ir.Value:
        """An input of the body."""
        name = self.editor.unique(f"{self.name}_{what}")
        return ir.Value(name=name, type=ir.TensorType(kind), shape=ir.Shape(shape))

    def graph(self, outputs: Sequence[ir.Value], inputs: Sequence[ir.Value] = ()) -> ir.Graph:
        return ir.Graph(inputs, outputs, nodes=self.nodes, initializers=self.constants, name=self.name)

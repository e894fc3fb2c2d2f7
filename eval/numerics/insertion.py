"""Nodes and constants added before a node of a copied graph, under names of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

Array = np.ndarray[Any, Any]


class Insertion:
    """Adds what computes something new right before `anchor`, in the graph that it stands in.

    Names begin with that of the anchor's first output, which is unique in its graph.
    """

    def __init__(self, anchor: ir.Node, purpose: str) -> None:
        graph = anchor.graph
        assert isinstance(graph, ir.Graph)
        self.graph, self.anchor = graph, anchor
        self.prefix = f"{anchor.outputs[0].name}/{purpose}"
        self.count = 0

    def constant(self, array: Array, what: str) -> ir.Value:
        """An initializer of the anchor's graph."""
        value = ir.Value(name=self._name(what), const_value=ir.Tensor(array))
        self.graph.register_initializer(value)
        return value

    def integers(self, *numbers: int) -> ir.Value:
        """An int64 vector: a shape, axes, or the ends of a slice."""
        return self.constant(np.array(numbers, np.int64), "integers")

    def node(self, op_type: str, *inputs: ir.Value | None, outputs: int = 1, **attributes: Any) -> Any:
        """A node of the default operator set; its output, or a tuple of them where `outputs` is not 1."""
        made = self.detached(op_type, *inputs, outputs=outputs, **attributes)
        self.anchor.prepend(made)
        return made.outputs[0] if outputs == 1 else tuple(made.outputs)

    def detached(self, op_type: str, *inputs: ir.Value | None, outputs: int = 1, **attributes: Any) -> ir.Node:
        """A node that stands in no graph yet, for the body of another one."""
        name = self._name(op_type.lower())
        values = [ir.Value(name=name if index == 0 else f"{name}/{index}") for index in range(outputs)]
        given = ir.convenience.convert_attributes(attributes)
        return ir.Node("", op_type, inputs, given, outputs=values, name=name)

    def replace(self, old: ir.Value, new: ir.Value) -> None:
        """Let `new` take the place of `old` for every reader and as an output, under its name."""
        name, new.type, new.shape = old.name, old.type, old.shape
        old.name = f"{name}/replaced"
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        new.name = name

    def _name(self, what: str) -> str:
        self.count += 1
        return f"{self.prefix}/{what}_{self.count}"

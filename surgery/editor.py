"""Editor: the only hand that changes a graph. Every verb records a Change, so a pass cannot change a graph silently."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.change import Change
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import Site, first_output
from onnxfix.nouns.types.operators import graphs
from onnxfix.nouns.types.type_strings import data_type

# Stamped on every node that a pass makes, so that a reader of the graph knows it did not come from the exporter.
MADE_BY = "onnxfix.pass"


class Editor:
    """Edits one model on behalf of one pass. New values and nodes get names that collide with no existing one."""

    def __init__(self, model: Model, pass_name: str) -> None:
        self.model = model
        self.pass_name = pass_name
        self.changes: list[Change] = []
        self.notes: list[str] = []
        self._begin()

    def _begin(self) -> None:
        self._names = _names_in_use(self.model.ir)
        self._bearers = {node.name: node for node in reversed(list(self.model.nodes())) if node.name}

    def record(self, verb: str, site: Site, detail: str = "") -> None:
        self.changes.append(Change(self.pass_name, verb, site, detail))

    def unique(self, wanted: str) -> str:
        """`wanted`, or it with a number behind it when taken; reserved from now on."""
        name, count = wanted, 1
        while name in self._names:
            name, count = f"{wanted}_{count}", count + 1
        self._names.add(name)
        return name

    def new_node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        like: ir.Node,
        *,
        attributes: Mapping[str, float | str | ir.DataType | ir.TensorProtocol] | None = None,
        outputs: Sequence[str],
        types: Sequence[str | None] = (),
        domain: str = "",
        after: ir.Node | None = None,
        graph: ir.Graph | None = None,
    ) -> ir.Node:
        """Insert a node; it inherits the exporter's metadata (torch scope) of `like`.

        It stands behind `after`, or in front of `like` when that is None; with `graph`, at the front of that graph.
        """
        kinds = [*types, *([None] * len(outputs))]
        made = [
            ir.Value(name=self.unique(name), type=ir.TensorType(data_type(kind)) if kind else None)
            for name, kind in zip(outputs, kinds, strict=False)
        ]
        node = ir.Node(
            domain,
            op_type,
            inputs,
            ir.convenience.convert_attributes(dict(attributes or {})),
            outputs=made,
            name=self.unique(f"{like.name or like.op_type}_{op_type}"),
            metadata_props={**like.metadata_props, MADE_BY: self.pass_name},
        )
        if graph is not None:
            _prepend(graph, node)
        elif after is not None:
            after.append(node)
        else:
            like.prepend(node)
        self.record("insert", Site.of_node(node))
        return node

    def named(self, node: ir.Node) -> str:
        """The node's name, which it is given now if it has none of its own: engines address nodes by name."""
        if not node.name or self._bearers.get(node.name, node) is not node:
            node.name = self.unique(f"{node.op_type}_{first_output(node)}")
            self.record("name", Site.of_node(node))
        return node.name

    def name_all(self) -> None:
        """Give every node a name of its own, for an engine and to find it again in what the engine makes."""
        for node in self.model.nodes():
            self.named(node)

    def rename(self, value: ir.Value, wanted: str) -> None:
        """Give a value that is no input or output of the model another name."""
        old, value.name = value.name, self.unique(wanted)
        self.record("rename", Site.of_value(value), f"from {old}")

    def remove(self, node: ir.Node) -> None:
        """Remove a node whose outputs nobody reads. Raises ValueError when somebody does."""
        site = Site.of_node(node)
        graph = node.graph
        assert graph is not None
        graph.remove(node, safe=True)
        self.record("remove", site)

    def remove_dead(self, node: ir.Node | None) -> None:
        """Remove a node if nothing reads it, then whatever fed only it; unread initializers go with it."""
        if node is None or any(v.uses() or v.is_graph_output() for v in node.outputs) or node.graph is None:
            return
        inputs = [v for v in node.inputs if v is not None]
        self.remove(node)
        for value in inputs:
            self.remove_dead(value.producer())
            if value.is_initializer() and not value.uses() and not value.is_graph_output():
                self.drop_initializer(value)

    def replace_uses(self, old: ir.Value, new: ir.Value) -> None:
        """Let every reader of `old` read `new`; a graph output keeps its name, which moves to the new value."""
        if old.is_graph_output():
            name, kept = old.name, (old.type, old.shape)
            old.name = self.unique(f"{name}_replaced")
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            new.name = name
            new.type, new.shape = kept
        else:
            old.replace_all_uses_with(new)
        self.record("replace", Site.of_value(new), f"for {old.name}")

    def reroute_output(self, old: ir.Value, new: ir.Value) -> None:
        """Let `new` be the graph output instead of `old`, under the same name; inner readers of `old` stay."""
        graph = old.graph
        assert graph is not None
        name, declared = old.name, (old.type, old.shape)
        old.name = self.unique(f"{name}_inner")
        for index, value in enumerate(graph.outputs):
            if value is old:
                graph.outputs[index] = new
        new.name = name
        new.type, new.shape = declared
        self.record("reroute output", Site.of_value(new), f"from {old.name}")

    def replace_input(self, node: ir.Node, index: int, value: ir.Value | None) -> None:
        node.replace_input_with(index, value)
        self.record(
            "rewire", Site.of_node(node), f"input {index} is now {value.name if value is not None else 'absent'}"
        )

    def add_initializer(self, wanted: str, tensor: ir.TensorProtocol, graph: ir.Graph | None = None) -> ir.Value:
        """Register a new weight under a free name; no value_info is written for it."""
        value = ir.Value(name=self.unique(wanted), const_value=tensor)
        (graph or self.model.graph).register_initializer(value)
        self.record(
            "add initializer", Site(value=value.name or ""), f"{tensor.dtype.name} {list(tensor.shape.numpy())}"
        )
        return value

    def add_lazy_initializer(
        self, wanted: str, dtype: ir.DataType, shape: Sequence[int], make: Callable[[], np.ndarray]
    ) -> ir.Value:
        """As add_initializer, for a weight computed only when it is written: memory stays near one tensor's size."""

        def tensor() -> ir.TensorProtocol:
            return ir.Tensor(make(), dtype=dtype)

        return self.add_initializer(wanted, ir.LazyTensor(tensor, dtype, ir.Shape(shape), name=wanted))

    def replace_tensor(self, value: ir.Value, tensor: ir.TensorProtocol, why: str) -> None:
        """Give an initializer another content, type or shape, keeping its name."""
        value.const_value = tensor
        if value.type is not None:
            value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(tensor.shape)  # type: ignore[arg-type]
        self.record("replace initializer", Site(value=value.name or ""), why)

    def drop_initializer(self, value: ir.Value) -> None:
        """Remove a weight, unless it is an input or output of its graph as well."""
        graph = value.graph
        assert graph is not None and value.name is not None
        if value.is_graph_input() or value.is_graph_output():
            return
        del graph.initializers[value.name]
        self.record("drop initializer", Site(value=value.name))

    def take_input(
        self, name: str, dtype: ir.DataType, sizes: Sequence[int | str | ir.SymbolicDim | None], before: ir.Value
    ) -> ir.Value:
        """Let the model have an input of its own in front of another, or in the place of the one that has its name,
        which is none any more. A value inside that is called so gets another name."""
        inputs = self.model.graph.inputs
        index, replaced = inputs.index(before), before.name == name
        if replaced:
            before.name = self.unique(f"{name}_before")
            inputs.pop(index)
        for inner in (v for g in graphs(self.model.graph) for v in _values(g) if v.name == name):
            self.rename(inner, name)
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(sizes))
        inputs.insert(index, value)
        self._names.add(name)
        self.record("input", Site.of_value(value), str(value.shape))
        return value

    def drop_input(self, value: ir.Value) -> None:
        """Let the model have an input less, which nothing reads."""
        self.model.graph.inputs.remove(value)
        self.record("drop input", Site(value=value.name or ""))

    def make_constant(self, value: ir.Value) -> None:
        """Take a weight out of the graph's inputs, so that no run can replace it."""
        self.model.graph.inputs.remove(value)
        self.record("make constant", Site(value=value.name or ""))

    def set_type(self, value: ir.Value, type_string: str) -> None:
        """Declare a value's type truthfully; nothing is recorded when it was declared so already."""
        wanted = ir.TensorType(data_type(type_string))
        if value.type != wanted:
            value.type = wanted
            self.record("declare", Site.of_value(value), type_string)

    def set_shape(self, value: ir.Value, sizes: Sequence[int | str | ir.SymbolicDim | None] | None) -> None:
        """Declare a value's shape truthfully, None for one that is open; nothing is recorded when it is no other."""
        before, value.shape = value.shape, None if sizes is None else ir.Shape(sizes)
        if value.shape != before:
            self.record("declare", Site.of_value(value), f"{value.shape} for {before}")

    def declare_like(
        self, value: ir.Value, other: ir.Value | None, sizes: Sequence[int | ir.SymbolicDim | None]
    ) -> None:
        """Declare a value of another's type and width, which nothing says of a tensor whose length is a count; a file
        keeps a shape with a type alone, so that nothing is declared where one of both is not known."""
        if other is not None and other.type is not None and other.shape is not None:
            value.type = other.type
            self.set_shape(value, [*sizes, *list(other.shape)[len(sizes) :]])

    def drop_declaration(self, value: ir.Value) -> None:
        """Remove a value's value_info entry (type and shape); inputs and outputs of a graph must state theirs."""
        if value.is_graph_input() or value.is_graph_output():
            return
        if value.type is not None or value.shape is not None:
            value.type, value.shape = None, None
            self.record("undeclare", Site.of_value(value))

    def set_attribute(self, node: ir.Node, attribute: ir.Attr) -> None:
        node.attributes.add(attribute)
        self.record("set attribute", Site.of_node(node), attribute.name)

    def set_operator(
        self,
        node: ir.Node,
        op_type: str,
        attributes: Mapping[str, int | str | ir.DataType | ir.TensorProtocol],
        inputs: int,
        domain: str = "",
    ) -> None:
        """Turn a node into another operator over its first `inputs` inputs, keeping its outputs and name."""
        node.op_type, node.domain = op_type, domain
        node.attributes.clear()
        for attribute in ir.convenience.convert_attributes(dict(attributes)):
            node.attributes.add(attribute)
        node.resize_inputs(inputs)
        self.record("retype", Site.of_node(node), op_type)

    def import_domain(self, domain: str, version: int) -> None:
        """Let the model use operators of another domain."""
        if domain not in self.model.ir.opset_imports:
            self.model.ir.opset_imports[domain] = version
            self.record("import", Site(), f"{domain} {version}")

    def take_over(self, graph: ir.Model) -> None:
        """Continue on another graph, which `surgery.adoption` records the differences of."""
        self.model.ir = graph
        self._begin()


@dataclass(frozen=True)
class Writer:
    """How a pass writes an expression: nodes of one output in front of `like`, whose names begin with `name`."""

    editor: Editor
    name: str
    like: ir.Node

    def __call__(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        what: str,
        *,
        attributes: Mapping[str, Any] | None = None,
        domain: str = "",
    ) -> ir.Value:
        return self.several(op_type, inputs, [what], attributes=attributes, domain=domain)[0]

    def several(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        what: Sequence[str],
        *,
        attributes: Mapping[str, Any] | None = None,
        domain: str = "",
    ) -> list[ir.Value]:
        """A node of several outputs."""
        outputs = [f"{self.name}_{each}" for each in what]
        node = self.editor.new_node(op_type, inputs, self.like, outputs=outputs, attributes=attributes, domain=domain)
        return list(node.outputs)

    def integers(self, name: str, numbers: Any) -> ir.Value:
        """An int64 constant."""
        return self.array(name, np.array(numbers, dtype=np.int64))

    def array(self, name: str, array: np.ndarray[Any, Any] | np.generic) -> ir.Value:
        """A constant of an array's type."""
        return self.editor.add_initializer(name, ir.tensor(array))


def _prepend(graph: ir.Graph, node: ir.Node) -> None:
    if len(graph):
        graph.insert_before(graph[0], node)
    else:
        graph.append(node)


def _names_in_use(model: ir.Model) -> set[str]:
    """Names of all values and nodes in all graphs: an inner graph must not shadow an outer name either."""
    names: set[str] = set()
    for graph in graphs(model.graph):
        names.update(v.name for v in _values(graph) if v.name)
        names.update(node.name or "" for node in graph)
    return names


def _values(graph: ir.Graph) -> list[ir.Value]:
    """All that a graph gives a name."""
    return [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]

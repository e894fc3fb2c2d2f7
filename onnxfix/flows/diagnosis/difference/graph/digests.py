"""Digests of values by what they are computed from: equal ones are the same numbers, whatever anything is called.

A digest is of an operator, its attributes, its bodies, and the digests of what it reads, down to the model's inputs and
the content of its weights. So names, the order of nodes, and whether a constant is an initializer or a node count for
nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from onnxfix.flows.diagnosis.difference.weights.contents import Contents
from onnxfix.nouns.types.operators import BODIES, STANDARD
from onnxfix.surgery.sites.constants import constant_attribute_tensor

from .defaults import stated

COMMUTATIVE = frozenset("Add Mul And Or Xor Equal BitwiseAnd BitwiseOr BitwiseXor".split())


class Digests:
    """Of all values and nodes of one model, those of bodies included. `inputs`: the names that its inputs go by."""

    def __init__(self, model: ir.Model, contents: Contents, inputs: Mapping[ir.Value, str]) -> None:
        self.contents = contents
        self.functions = model.functions
        self.imports = model.opset_imports
        self.of_value: dict[ir.Value, str] = {value: _hash("input", name) for value, name in inputs.items()}
        self.of_node: dict[ir.Node, str] = {}
        self.labels: dict[ir.Node, str] = {}
        """Of a node by itself: its operator and attributes."""
        self._called: dict[ir.OperatorIdentifier, str] = {}
        self._graph(model.graph, 0)

    def constant(self, value: ir.Value | None) -> str | None:
        """The digest of a constant; None for what is computed."""
        if value is None:
            return None
        producer = value.producer()
        held = value.const_value is not None and value.is_initializer()
        return self.of_value[value] if held or (producer is not None and is_constant(producer)) else None

    def tensor(self, tensor: ir.TensorProtocol) -> str:
        return _hash("constant", tensor.dtype, tuple(tensor.shape.numpy()), self.contents.of(tensor))

    def _graph(self, graph: ir.Graph, depth: int) -> str:
        for value in graph.initializers.values():
            if value.const_value is not None and value not in self.of_value:
                self.of_value[value] = self.tensor(value.const_value)
        for place, value in enumerate(graph.inputs):
            self.of_value.setdefault(value, _hash("parameter", depth, place))
        nodes = [self._node(node, depth) for node in graph]
        return _hash("body", *(self.read(value) for value in graph.outputs), *sorted(nodes))

    def _node(self, node: ir.Node, depth: int) -> str:
        if is_constant(node):
            tensor = constant_attribute_tensor(node)
            assert tensor is not None
            self.labels[node] = "constant"
            self.of_node[node] = self.of_value[node.outputs[0]] = self.tensor(tensor)
            return self.of_node[node]
        label = self.labels[node] = self._label(node, depth)
        read = [self.read(value) for value in _trimmed(node)]
        found = self.of_node[node] = _hash(label, len(node.outputs), *(sorted(read) if commutes(node) else read))
        for place, value in enumerate(node.outputs):
            self.of_value[value] = _hash(found, place)
        return found

    def read(self, value: ir.Value | None) -> str:
        """Of a value; what nothing makes, as in a broken file, goes by its name."""
        return "" if value is None else self.of_value.get(value) or _hash("unknown", value.name)

    def _label(self, node: ir.Node, depth: int) -> str:
        given = (f"{name}={self._attribute(each, depth)}" for name, each in sorted(stated(node, self.imports).items()))
        return _hash(*operator(node), node.overload, self._function(node.op_identifier()), *given)

    def _attribute(self, given: ir.Attr, depth: int) -> str:
        if given.is_ref():
            return _hash("argument", given.ref_attr_name)
        if given.type in BODIES:
            graphs = [given.value] if given.type == ir.AttributeType.GRAPH else given.value
            return _hash(*(self._graph(graph, depth + 1) for graph in graphs))
        if given.type == ir.AttributeType.TENSOR:
            return self.tensor(given.value)
        if given.type == ir.AttributeType.TENSORS:
            return _hash(*map(self.tensor, given.value))
        return _hash(given.type, repr(plain(given.value)))

    def _function(self, key: ir.OperatorIdentifier) -> str:
        """Of a function's body, which is only there where it could not be inlined."""
        function = self.functions.get(key)
        if function is None:
            return ""
        if key not in self._called:
            self._called[key] = "recursive"
            self._called[key] = self._graph(function.graph, 1)
        return self._called[key]


def operator(node: ir.Node) -> tuple[str, str]:
    """Domain and name, `ai.onnx` under one of its two names."""
    return "" if node.domain in STANDARD else node.domain, node.op_type


def commutes(node: ir.Node) -> bool:
    """Whether the two operands of a node can be exchanged."""
    return node.op_type in COMMUTATIVE and node.domain in STANDARD


def is_constant(node: ir.Node) -> bool:
    """Whether a node holds a tensor and no more."""
    standard = node.op_type == "Constant" and node.domain in STANDARD and len(node.outputs) == 1
    return standard and constant_attribute_tensor(node) is not None


def plain(value: Any) -> Any:
    """An attribute's value whose repr is the same in both models."""
    return list(value) if isinstance(value, list | tuple) else value


def _trimmed(node: ir.Node) -> list[ir.Value | None]:
    """Inputs without those left out at the end, which means nothing."""
    found = list(node.inputs)
    while found and found[-1] is None:
        found.pop()
    return found


def _hash(*parts: object) -> str:
    text = "\0".join(map(str, parts))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()

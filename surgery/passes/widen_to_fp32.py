"""Half precision → fp32, so that a model that arrives converted, and broken, can be converted again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import is_standard
from onnxfix.nouns.types.type_strings import data_type, type_string
from onnxfix.nouns.weights.weight_data import Array, Elementwise
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.constants import constant_attribute_tensor

HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
HALF_STRINGS = ("tensor(float16)", "tensor(bfloat16)")
FLOAT = "tensor(float)"
# Attributes that name the type of a result.
_TYPE_ATTRIBUTES = ("to", "dtype", "output_datatype", "output_dtype", "stash_type")


@dataclass(frozen=True)
class WidenToFp32:
    """Make every half-precision value, weight and cast of a model fp32; its inputs and outputs keep their types.

    A model that somebody converted and that does not load has casts and value_info entries that contradict each other;
    in fp32 there is nothing left to contradict. Widening is exact, and rounding widened weights to half gives the same
    weights again, so that the conversion can be done over with casts where they belong. What half arithmetic lost on
    the way (a rounded inverse frequency) has to be restored besides.

    Measure: nodes that compute in half precision.
    """

    name: ClassVar[str] = "widen-to-fp32"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ("P001", "P004", "P005")

    def apply(self, editor: Editor) -> None:
        graph = editor.model.graph
        doors = _doors(graph, infer(editor.model.ir))
        interface = [(v, type_string(v.type)) for v in (*graph.inputs, *dict.fromkeys(graph.outputs)) if v not in doors]
        for value in [v for g in editor.model.graphs() for v in g.initializers.values()]:
            _widen_initializer(editor, value)
        for node in list(editor.model.nodes()):
            if not doors.intersection((*node.inputs[:1], *node.outputs)):
                _widen_node(editor, node)
        _declare(editor, doors)
        for value, declared in interface:
            if declared in HALF_STRINGS and not value.is_initializer():
                _keep_interface(editor, value, declared)

    def measure(self, model: Model) -> float:
        types = infer(model.ir)
        return float(sum(1 for n in model.nodes() if n.op_type != "Cast" and _is_half(n, types)))


def _doors(graph: ir.Graph, types: ElementTypes) -> set[ir.Value]:
    """Half inputs that are only cast to fp32, and half outputs that are cast from it: as they should be already."""
    inputs = {
        v
        for v in graph.inputs
        if types.get(v) in HALF_STRINGS
        and all(n.op_type == "Cast" and types.get(n.outputs[0]) == FLOAT for n in v.consumers())
    }
    outputs = {
        v
        for v in graph.outputs
        if types.get(v) in HALF_STRINGS
        and not v.uses()
        and (maker := v.producer()) is not None
        and maker.op_type == "Cast"
        and is_standard(maker)
        and types.get(maker.inputs[0]) == FLOAT
    }
    return inputs | outputs


def _is_half(node: ir.Node, types: ElementTypes) -> bool:
    return any(types.get(v) in HALF_STRINGS for v in node.outputs)


def _wide(array: Array) -> Array:
    return array.astype(np.float32)


def _widen_initializer(editor: Editor, value: ir.Value) -> None:
    tensor = value.const_value
    if tensor is not None and tensor.dtype in HALVES:
        made = Elementwise(tensor, ir.DataType.FLOAT, _wide, value.name or "")
        if not value.is_graph_output():
            editor.replace_tensor(value, made, "as FLOAT")
            return
        # a weight that the graph returns keeps its type, and nodes read another one
        readers = list(value.uses())
        graph = value.graph if isinstance(value.graph, ir.Graph) else None
        other = editor.add_initializer(f"{value.name}_float", made, graph) if readers else None
        for node, index in readers:
            editor.replace_input(node, index, other)


def _widen_node(editor: Editor, node: ir.Node) -> None:
    if node.op_type == "Constant":
        tensor = constant_attribute_tensor(node)
        if tensor is not None and tensor.dtype in HALVES:
            made = ir.Tensor(_wide(tensor.numpy()), name=tensor.name)
            editor.set_operator(node, "Constant", {"value": made}, inputs=0)
        return
    for name, attribute in list(node.attributes.items()):
        if attribute.is_ref():
            continue
        if name in _TYPE_ATTRIBUTES and attribute.type == ir.AttributeType.INT and attribute.value in HALVES:
            editor.set_attribute(node, ir.AttrInt64(name, ir.DataType.FLOAT))
        elif attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype in HALVES:
            editor.set_attribute(node, ir.AttrTensor(name, ir.Tensor(_wide(attribute.value.numpy()))))


def _declare(editor: Editor, doors: set[ir.Value]) -> None:
    """No value_info may say half any more; a converter's entries were not reliable in the first place."""
    for graph in editor.model.graphs():
        for value in (*graph.inputs, *(v for node in graph for v in node.outputs)):
            if type_string(value.type) in HALF_STRINGS and value not in doors:
                editor.set_type(value, FLOAT)
    types = infer(editor.model.ir)
    for graph in editor.model.graphs():
        for value in (v for node in graph for v in node.outputs):
            made = types.get(value)
            if value.type is not None and made == FLOAT and type_string(value.type) not in (FLOAT, None):
                editor.set_type(value, FLOAT)


def _keep_interface(editor: Editor, value: ir.Value, declared: str) -> None:
    """An input is cast to fp32 where it comes in, an output back to its type where it goes out."""
    graph = editor.model.graph
    if value in graph.inputs:
        like = next(iter(value.consumers()), None)
        editor.set_type(value, declared)
        if like is None:
            return
        readers = list(value.uses())
        node = editor.new_node(
            "Cast", [value], like, attributes={"to": ir.DataType.FLOAT}, outputs=[f"{value.name}_float"], types=[FLOAT],
            graph=graph,
        )  # fmt: skip
        for reader, index in readers:
            editor.replace_input(reader, index, node.outputs[0])
        return
    producer = value.producer()
    if producer is None:
        return
    node = editor.new_node(
        "Cast", [value], producer, attributes={"to": data_type(declared)}, outputs=[f"{value.name}_half"],
        types=[declared], after=producer,
    )  # fmt: skip
    editor.reroute_output(value, node.outputs[0])
    editor.set_type(node.outputs[0], declared)
    editor.set_type(value, FLOAT)

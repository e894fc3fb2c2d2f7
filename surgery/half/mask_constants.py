"""Constants of masks written anew, wherever a graph keeps them: initializers, Constant nodes, fills of a shape."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.constants import Array, constant_attribute_tensor


def rewrite(editor: Editor, made: Callable[[ir.Value, Array | None], Array | None], why: str) -> None:
    """Replace constants by what is `made` of them, None for those that stay. It gets the content only of a fill, which
    is no constant of its value's shape."""
    for graph in editor.model.graphs():
        for value in list(graph.initializers.values()):
            if (array := made(value, None)) is not None:
                editor.replace_tensor(value, ir.Tensor(array, name=value.name), why)
    for node in list(editor.model.nodes()):
        if node.op_type == "ConstantOfShape" and (fill := node.attributes.get("value")) is not None:
            array = made(node.outputs[0], fill.value.numpy())
            if array is not None:
                editor.set_attribute(node, ir.AttrTensor("value", ir.Tensor(array, name="")))
        elif node.op_type == "Constant" and (tensor := constant_attribute_tensor(node)) is not None:
            array = made(node.outputs[0], None)
            if array is not None:
                content = ir.Tensor(array, name=tensor.name or "")
                editor.set_operator(node, "Constant", {"value": content}, inputs=0)


def constants(model: Model) -> list[ir.Value]:
    """The values of a model that are constants, at every depth."""
    held = [v for g in model.graphs() for v in g.initializers.values()]
    return held + [n.outputs[0] for n in model.nodes() if n.op_type == "Constant"]

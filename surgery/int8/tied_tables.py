"""An embedding table that is the output layer, too, made one again after ONNX Runtime's quantizer.

The quantizer knows products alone: it leaves the float table to its Gather and stores the integers beside it. Here the
lookup reads those integers and multiplies each row by its scale, and the float table goes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.weights import weight_data
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.linear import embeddings, linears, shared_weights


@dataclass(frozen=True)
class Tie:
    """`lookup`: the name of a Gather; `weight`: that of the matrix with its table's numbers, transposed, which a
    product reads."""

    lookup: str
    weight: str


def find(editor: Editor, products: Collection[linears.Linear]) -> list[Tie]:
    """Lookups in tables that products, about to be quantized, read as well, as it is stored or transposed beside it."""
    weights = {x.weight.source: x.weight.source.const_value for x in products if not x.weight.path}
    found = []
    for lookup in embeddings.find(editor.model, at_least=1):
        turned = shared_weights.turns(lookup.weight)
        if lookup.quantized or turned is None:
            continue
        for weight, tensor in weights.items():
            if tensor is not None and _is_same(constant_tensor(lookup.weight.source), tensor, turned):
                found.append(Tie(editor.named(lookup.node), str(weight.name)))
                break
    return found


def tie(editor: Editor, ties: Collection[Tie]) -> None:
    """In the quantizer's result: let each lookup read the integers of its product."""
    from onnxruntime.quantization import quant_utils

    nodes = {node.name: node for node in editor.model.nodes()}
    values = editor.model.graph.initializers
    tables: dict[str, tuple[ir.Value, ir.Value]] = {}
    for one in ties:
        node, integers, scale, zero = (
            nodes.get(one.lookup),
            values.get(one.weight + quant_utils.TENSOR_NAME_QUANT_SUFFIX),
            values.get(f"{one.weight}_scale"),
            values.get(f"{one.weight}_zero_point"),
        )
        if node is None or integers is None or scale is None or not _is_zero(zero):
            continue
        if one.weight not in tables:
            tables[one.weight] = _table(editor, node, integers), _column(editor, node, scale)
        _read(editor, node, *tables[one.weight], per_row=_size(scale) > 1)


def _table(editor: Editor, node: ir.Node, integers: ir.Value) -> ir.Value:
    """[rows, width] of the product's [width, rows]; ONNX Runtime evaluates it while it loads."""
    made = editor.new_node(
        "Transpose",
        [integers],
        node,
        outputs=[f"{integers.name}_table"],
        types=["tensor(int8)"],
        graph=editor.model.graph,
    )
    return made.outputs[0]


def _column(editor: Editor, node: ir.Node, scale: ir.Value) -> ir.Value:
    """A scale a row, as [rows, 1]; a weight with one scale in all is the same for each row."""
    shape = editor.add_initializer(f"{scale.name}_shape", ir.Tensor(np.array([-1, 1], dtype=np.int64)))
    outputs, kinds = [f"{scale.name}_rows"], ["tensor(float)"]
    graph = editor.model.graph
    return editor.new_node("Reshape", [scale, shape], node, outputs=outputs, types=kinds, graph=graph).outputs[0]


def _read(editor: Editor, node: ir.Node, table: ir.Value, scale: ir.Value, per_row: bool) -> None:
    """Gather and Cast, times the Gather of the scales, in place of a Gather."""
    output, indices = node.outputs[0], node.inputs[1]
    name, old = output.name, node.inputs[0]
    rows = editor.new_node("Gather", [table, indices], node, outputs=[f"{name}_int8"], types=["tensor(int8)"])
    whole = editor.new_node(
        "Cast",
        [rows.outputs[0]],
        node,
        attributes={"to": ir.DataType.FLOAT},
        outputs=[f"{name}_whole"],
        types=["tensor(float)"],
    )
    step = scale
    if per_row:
        kinds = ["tensor(float)"]
        step = editor.new_node("Gather", [scale, indices], node, outputs=[f"{name}_scale"], types=kinds).outputs[0]
    product = editor.new_node("Mul", [whole.outputs[0], step], node, outputs=[f"{name}_rows"])
    product.outputs[0].type, product.outputs[0].shape = output.type, output.shape
    editor.replace_uses(output, product.outputs[0])
    editor.remove(node)
    if old is None:
        return
    editor.remove_dead(old.producer())
    if old.is_initializer() and not old.uses() and not old.is_graph_output():
        editor.drop_initializer(old)


def _is_same(table: ir.TensorProtocol | None, weight: ir.TensorProtocol, turned: bool) -> bool:
    """Whether a table, [width, rows] where it is `turned`, has a weight's numbers, which is [width, rows]."""
    if table is None or table.dtype != weight.dtype:
        return False
    shape = tuple(table.shape.numpy())
    if (shape if turned else shape[::-1]) != tuple(weight.shape.numpy()):
        return False
    if weight is table or (isinstance(weight, weight_data.Moved) and weight.source is table and not turned):
        return weight is not table or turned  # folded from it a moment ago
    array = weight_data.array(table)
    return bool(np.array_equal(array if turned else array.T, weight_data.array(weight)))


def _is_zero(value: ir.Value | None) -> bool:
    tensor = constant_tensor(value)
    return tensor is not None and not tensor.numpy().any()


def _size(value: ir.Value) -> int:
    tensor = constant_tensor(value)
    return int(tensor.size) if tensor is not None else 0

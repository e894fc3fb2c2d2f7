"""Gemm with a constant weight → MatMul and Add, which quantizers of weights know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.nouns.types.operators import attribute, integer
from onnxfix.nouns.weights.weight_data import Moved
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.int8.quantizer import ALL, Selection
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.linear import linears


@dataclass(frozen=True)
class GemmToMatMul:
    """Write linear layers as MatMul and Add.

    The dynamo exporter writes a linear with a bias on 2-D input as `Gemm(transB=1)`. Weight-only quantizers look for
    MatMul alone (`MatMulNBits` has no Gemm form) and leave such a layer in float without a word. The weight is stored
    transposed, once for all layers that share it. A Gemm that scales (`alpha`, `beta`) or transposes its activation
    stays. The sum of product and bias is rounded once more than in Gemm.

    Measure: linears that are a Gemm.
    """

    name: ClassVar[str] = "gemm-to-matmul"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    selection: Selection = ALL

    def apply(self, editor: Editor) -> None:
        turned: dict[ir.Value, ir.Value] = {}
        for linear in self.selection.of(linears.find(editor.model), editor.model):
            node = linear.node
            if node.op_type != "Gemm" or linear.weight.path:
                continue
            if not _is_plain(node):
                editor.notes.append(f"{label(node)} stays a Gemm: it scales or transposes its activation")
                continue
            weight = linear.weight.source
            if integer(node, "transB", 0) and weight not in turned:
                turned[weight] = _transposed(editor, weight)
            bias, output = node.inputs[2] if len(node.inputs) > 2 else None, node.outputs[0]
            editor.set_operator(node, "MatMul", {}, inputs=2)
            if weight in turned:
                editor.replace_input(node, 1, turned[weight])
            if bias is not None:
                _add(editor, node, output, bias)
            if weight.is_initializer() and not weight.uses() and not weight.is_graph_output():
                editor.drop_initializer(weight)

    def measure(self, model: Model) -> float:
        return float(sum(x.node.op_type == "Gemm" for x in linears.find(model)))


def _is_plain(node: ir.Node) -> bool:
    return not integer(node, "transA", 0) and all(attribute(node, key, 1.0) == 1.0 for key in ("alpha", "beta"))


def _transposed(editor: Editor, weight: ir.Value) -> ir.Value:
    tensor = constant_tensor(weight)
    assert tensor is not None
    rows, columns = tensor.shape.numpy()
    name = f"{weight.name}_transposed"
    return editor.add_initializer(name, Moved(tensor, (columns, rows), np.transpose, name))


def _add(editor: Editor, node: ir.Node, output: ir.Value, bias: ir.Value) -> None:
    """Behind the product: its readers read the sum, which a graph output's name goes with."""
    made = editor.new_node("Add", [None, bias], node, outputs=[f"{output.name}_sum"], after=node)
    made.outputs[0].type, made.outputs[0].shape = output.type, output.shape
    editor.replace_uses(output, made.outputs[0])
    editor.replace_input(made, 0, output)

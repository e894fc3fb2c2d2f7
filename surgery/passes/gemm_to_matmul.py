"""Gemm with a constant weight → MatMul and Add, which quantizers of weights know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import attribute, integer
from onnxfix.nouns.weights import weight_data
from onnxfix.nouns.weights.weight_data import Moved
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.int8.quantizer import ALL, Selection
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.linear import linears, shared_weights


@dataclass(frozen=True)
class GemmToMatMul:
    """Write linear layers as MatMul and Add.

    The dynamo exporter writes a linear with a bias on 2-D input as `Gemm(transB=1)`. Weight-only quantizers look for
    MatMul alone (`MatMulNBits` has no Gemm form) and leave such a layer in float without a word; ONNX Runtime's dynamic
    quantizer transposes the weight in place, once for each Gemm that shares it. Here the weight is stored transposed,
    once for all layers that share it, or read through a `Transpose` where something else reads it as it is. `alpha` and
    `beta` become factors. The sum of product and bias is rounded once more than in Gemm.

    Measure: linears that are a Gemm.
    """

    name: ClassVar[str] = "gemm-to-matmul"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    selection: Selection = ALL

    def apply(self, editor: Editor) -> None:
        every = linears.find(editor.model)
        chosen = {x.node for x in self.selection.of(every, editor.model)} | _sharing(every)
        found = [x for x in every if x.node.op_type == "Gemm" and x.node in chosen]
        kinds = {x.node: linears.weight_type(x) for x in found}
        turned: dict[tuple[ir.Value, ir.Graph | None], ir.Value] = {}
        alone = _alone(found)
        for linear in found:
            node, weight = linear.node, linear.node.inputs[1]
            scales = [float(attribute(node, key, 1.0)) for key in ("alpha", "beta")]
            transposes = [bool(integer(node, key, 0)) for key in ("transA", "transB")]
            bias = node.inputs[2] if len(node.inputs) > 2 and scales[1] != 0 else None
            editor.set_operator(node, "MatMul", {}, inputs=2)
            if transposes[0]:
                editor.replace_input(node, 0, _through(editor, node, node.inputs[0]))
            if transposes[1] and weight is not None:
                key = (weight, None if weight in alone else node.graph)
                if key not in turned:
                    turned[key] = _transposed(editor, weight) if weight in alone else _through(editor, node, weight)
                editor.replace_input(node, 1, turned[key])
            _scale_and_add(editor, node, kinds[node], scales, bias)
        for weight in alone:
            if weight.is_initializer() and not weight.uses() and not weight.is_graph_output():
                editor.drop_initializer(weight)

    def measure(self, model: Model) -> float:
        return float(sum(x.node.op_type == "Gemm" for x in linears.find(model)))


def _sharing(every: Collection[linears.Linear]) -> set[ir.Node]:
    """Gemms that read one weight transposed: ONNX Runtime's quantizer spoils it for those too that stay in float."""
    gemms = [x for x in every if x.node.op_type == "Gemm" and integer(x.node, "transB", 0)]
    readers = Counter(x.weight.source for x in gemms)
    return {x.node for x in gemms if readers[x.weight.source] > 1}


def _alone(found: Collection[linears.Linear]) -> list[ir.Value]:
    """Weights that are read by these with `transB` alone, so that one stored transposed takes the place of each."""
    nodes = {x.node for x in found if integer(x.node, "transB", 0) and not x.weight.path}
    sources = dict.fromkeys(x.weight.source for x in found if x.node in nodes)
    return [w for w in sources if not shared_weights.others(w, nodes) and not w.is_graph_output()]


def _transposed(editor: Editor, weight: ir.Value) -> ir.Value:
    tensor = constant_tensor(weight)
    assert tensor is not None
    rows, columns = tensor.shape.numpy()
    name = f"{weight.name}_transposed"
    return editor.add_initializer(name, Moved(tensor, (columns, rows), np.transpose, name))


def _through(editor: Editor, node: ir.Node, value: ir.Value | None) -> ir.Value:
    """A Transpose in front of a node."""
    assert value is not None
    outputs = [f"{value.name}_transposed"]
    made = editor.new_node("Transpose", [value], node, outputs=outputs)
    made.outputs[0].type = value.type
    return made.outputs[0]


def _scale_and_add(
    editor: Editor, node: ir.Node, kind: ir.DataType, scales: list[float], bias: ir.Value | None
) -> None:
    """Behind the product: its readers read the scaled sum, which a graph output's name goes with."""
    last, output = node, node.outputs[0]
    if scales[0] != 1.0:
        factor = editor.add_initializer(f"{output.name}_alpha", _scalar(scales[0], kind))
        last = _behind(editor, last, "Mul", f"{output.name}_scaled", factor)
    if bias is not None:
        term = bias if scales[1] == 1.0 else _scaled_bias(editor, node, bias, scales[1], kind)
        _behind(editor, last, "Add", f"{output.name}_sum", term)


def _scaled_bias(editor: Editor, node: ir.Node, bias: ir.Value, beta: float, kind: ir.DataType) -> ir.Value:
    tensor = constant_tensor(bias)
    if tensor is not None:
        array = weight_data.array(tensor)
        scaled = (array * np.asarray(beta, array.dtype)).astype(array.dtype)
        return editor.add_initializer(f"{bias.name}_scaled", ir.Tensor(scaled, dtype=tensor.dtype))
    factor = editor.add_initializer(f"{node.outputs[0].name}_beta", _scalar(beta, kind))
    return editor.new_node("Mul", [bias, factor], node, outputs=[f"{bias.name}_scaled"]).outputs[0]


def _scalar(number: float, kind: ir.DataType) -> ir.TensorProtocol:
    return ir.Tensor(np.array(number, dtype=kind.numpy()), dtype=kind)


def _behind(editor: Editor, node: ir.Node, op_type: str, name: str, other: ir.Value) -> ir.Node:
    """Let all that read a node read it with an operator behind."""
    output = node.outputs[0]
    made = editor.new_node(op_type, [None, other], node, outputs=[name], after=node)
    made.outputs[0].type, made.outputs[0].shape = output.type, output.shape
    editor.replace_uses(output, made.outputs[0])
    editor.replace_input(made, 0, output)
    return made

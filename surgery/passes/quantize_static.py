"""int8 with ranges measured beforehand, between QuantizeLinear and DequantizeLinear, by ONNX Runtime's quantizer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.nouns.weights import weight_data
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.int8 import tied_tables
from onnxfix.surgery.int8.calibration import Inputs, Method, ranges
from onnxfix.surgery.int8.quantizer import ALL, PRODUCTS, Selection, has_side_file, quantize
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.linear import embeddings, linears, shared_weights
from onnxfix.surgery.sites.linear.shared_weights import SMALL


@dataclass(frozen=True)
class QuantizeStatic:
    """Quantize weights and activations of all linear layers to int8, with activation ranges from real inputs.

    The engine is ONNX Runtime's calibrator and QDQ quantizer: weights symmetric per channel, one range an activation.
    Products of two activations (attention) and rotary angle products stay in float. Its histogram calibrators take
    batches of one shape only; here each is collected by itself, so that texts of all lengths count. CPU and TensorRT
    fuse the pairs into integer products; CUDA does not.

    Measure: linears that compute in float.
    """

    name: ClassVar[str] = "quantize-static"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    inputs: tuple[Inputs, ...] = field(default=(), repr=False, compare=False)
    method: Method = "minmax"
    symmetric: bool = False
    """Activations as int8 around zero, as TensorRT wants them; else uint8 with a zero point."""
    selection: Selection = ALL
    reduce_range: bool = False
    """7-bit weights: for u8 × s8 kernels without VNNI, whose 16-bit sums saturate."""

    def apply(self, editor: Editor) -> None:
        # only weights that stand at the product itself: no operator may be between it and its DequantizeLinear
        taken = [x for x in self.selection.in_float32(editor.model) if not x.weight.path]
        products = [x for x in taken if not _stays(editor, x, taken)]
        found = [x.node for x in products]
        if found and not self.inputs:
            raise OnnxfixError(
                "static quantization needs inputs to measure on", f"give them with {arg('calibrate', 'FILE')}"
            )
        wanted = {node for node in found if _has_plain_bias(editor, node)}
        if not wanted:
            return
        editor.name_all()
        own = {v.name for n in editor.model.nodes() if n.op_type == "DequantizeLinear" for v in n.outputs}
        left = [editor.named(n) for n in editor.model.nodes() if n.op_type in PRODUCTS and n not in wanted]
        names = {editor.named(node) for node in wanted}
        ties = tied_tables.find(editor, [x for x in products if x.node in wanted])
        quantize(editor, f"{len(names)} linears to int8", lambda source, result: self._call(source, result, left))
        _keep_float(editor, names, own)
        tied_tables.tie(editor, ties)

    def measure(self, model: Model) -> float:
        return float(sum(not x.quantized for x in linears.find(model)))

    def _call(self, source: Path, result: Path, left: list[str]) -> None:
        from onnxruntime.quantization import QDQQuantizer, QuantType
        from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

        quantizer = QDQQuantizer(
            load_model_with_shape_infer(source),
            per_channel=True,
            reduce_range=self.reduce_range,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8 if self.symmetric else QuantType.QUInt8,
            tensors_range=ranges(source, self.inputs, self.method, PRODUCTS),
            nodes_to_quantize=[],
            nodes_to_exclude=left,
            op_types_to_quantize=list(PRODUCTS),
            extra_options={
                "ActivationSymmetric": self.symmetric,
                "WeightSymmetric": True,
                # A MatMul fuses with what it reads and gives float32; its result on 256 levels would only lose. A Gemm
                # with a float bias fuses with a quantized result alone (ONNX Runtime 1.31.1).
                "OpTypesToExcludeOutputQuantization": ["MatMul"],
            },
        )
        quantizer.quantize_model()
        # the file is read in topological order: the quantizer appends its nodes
        quantizer.model.save_model_to_file(str(result), has_side_file(source))


def _stays(editor: Editor, linear: linears.Linear, taken: Collection[linears.Linear]) -> bool:
    """Whether the quantizer does not come to a linear, or would leave its weight in float beside the integers."""
    main = editor.model.graph
    if linear.node.graph is not main:
        editor.notes.append(f"{label(linear.node)} stays in float: it is in the body of an If, Loop or Scan")
        return True
    source = linear.weight.source
    if linear.elements <= SMALL or source.is_graph_output():
        return False
    inside = {x.node for x in taken if x.node.graph is main}
    rest = [n for n in shared_weights.others(source, inside) if not embeddings.looks_up(n, source)]
    if rest:
        editor.notes.append(f"{label(linear.node)} stays in float: {label(rest[0])} reads its weight in float")
    return bool(rest)


def _has_plain_bias(editor: Editor, node: ir.Node) -> bool:
    """Whether the bias of a Gemm is a vector with an entry a column, which the quantizer alone knows; a constant that
    is repeated or multiplied is made one first."""
    bias = node.inputs[2] if node.op_type == "Gemm" and len(node.inputs) > 2 else None
    if bias is None:
        return True
    tensor, weight = constant_tensor(bias), constant_tensor(node.inputs[1])
    attributes = {name: node.attributes[name].value for name in node.attributes}
    beta = float(attributes.pop("beta", 1.0))
    columns = weight.shape.numpy()[0 if attributes.get("transB") else 1] if weight is not None else 0
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or any(d != 1 for d in tensor.shape.numpy()[:-1]):
        editor.notes.append(f"{editor.named(node)} stays in float: its bias is no constant vector")
        return False
    if beta == 1.0 and tensor.shape.numpy() == (columns,):
        return True
    vector = np.broadcast_to(weight_data.array(tensor).reshape(-1) * np.float32(beta), (columns,))
    made = editor.add_initializer(f"{bias.name}_vector", ir.Tensor(np.ascontiguousarray(vector)))
    editor.set_operator(node, "Gemm", attributes, inputs=3)
    editor.replace_input(node, 2, made)
    if bias.is_initializer() and not bias.uses() and not bias.is_graph_output():
        editor.drop_initializer(bias)
    return True


def _keep_float(editor: Editor, quantized: set[str], own: Collection[str | None]) -> None:
    """Let only the quantized products read rounded activations. The quantizer gives them to all readers, so that the
    residual stream of a post-norm model passes through 256 levels at every layer. `own`: what rounds in the source."""
    for node in list(editor.model.nodes()):
        rounding = node.inputs[0].producer() if node.op_type == "DequantizeLinear" and node.inputs[0] else None
        if rounding is None or rounding.op_type != "QuantizeLinear" or rounding.inputs[0] is None:
            continue
        value, exact = node.outputs[0], rounding.inputs[0]
        maker = exact.producer()
        if value.name in own or (maker is not None and maker.op_type == "Gemm" and maker.name in quantized):
            continue  # fake quantization, or the result of a Gemm, which is quantized itself
        for reader, index in list(value.uses()):
            if reader.name not in quantized:
                editor.replace_input(reader, index, exact)
        if value.is_graph_output():
            editor.reroute_output(value, exact)
        editor.remove_dead(node)

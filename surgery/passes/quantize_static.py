"""int8 with ranges measured beforehand, between QuantizeLinear and DequantizeLinear, by ONNX Runtime's quantizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from onnxfix.errors import OnnxfixError
from onnxfix.finding import Applicability
from onnxfix.model import Model
from onnxfix.surgery.calibration import Inputs, Method, ranges
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.quantizer import ALL, PRODUCTS, Selection, has_side_file, quantize
from onnxfix.surgery.sites import linears


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
        wanted = {x.node for x in self.selection.in_float32(editor.model) if not x.weight.path}
        if not wanted:
            return
        if not self.inputs:
            raise OnnxfixError("static quantization needs inputs to measure on", "name a file with --calibrate")
        left = [editor.named(n) for n in editor.model.nodes() if n.op_type in PRODUCTS and n not in wanted]
        names = {editor.named(node) for node in wanted}
        quantize(editor, f"{len(names)} linears to int8", lambda source, result: self._call(source, result, left))
        _keep_float(editor, names)

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


def _keep_float(editor: Editor, quantized: set[str]) -> None:
    """Let only the quantized products read rounded activations. The quantizer gives them to all readers, so that the
    residual stream of a post-norm model passes through 256 levels at every layer."""
    for node in list(editor.model.nodes()):
        rounding = node.inputs[0].producer() if node.op_type == "DequantizeLinear" and node.inputs[0] else None
        if rounding is None or rounding.op_type != "QuantizeLinear" or rounding.inputs[0] is None:
            continue
        maker = rounding.inputs[0].producer()
        if maker is not None and maker.name in quantized:
            continue  # the result of a Gemm, which is quantized itself
        for reader, index in list(node.outputs[0].uses()):
            if reader.name not in quantized:
                editor.replace_input(reader, index, rounding.inputs[0])
        editor.remove_dead(node)

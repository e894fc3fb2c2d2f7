"""int8 with ranges measured beforehand, between QuantizeLinear and DequantizeLinear, by ONNX Runtime's quantizer."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import onnx_ir as ir

from onnxfix.errors import OnnxfixError, one_line
from onnxfix.finding import Applicability
from onnxfix.model import Model
from onnxfix.surgery.adoption import adopt
from onnxfix.surgery.calibration import Inputs, Method, ranges
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.engines import quiet
from onnxfix.surgery.sites import linears
from onnxfix.surgery.sites.constants import constant_tensor

PRODUCTS = ("MatMul", "Gemm")


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
    blocked: tuple[str, ...] = ()
    """Names of nodes that stay in float."""

    def apply(self, editor: Editor) -> None:
        wanted = {x.node for x in linears.find(editor.model) if self._takes(x)}
        if not wanted:
            return
        if not self.inputs:
            raise OnnxfixError("static quantization needs inputs to measure on", "name a file with --calibrate")
        left = [editor.named(n) for n in editor.model.nodes() if n.op_type in PRODUCTS and n not in wanted]
        with tempfile.TemporaryDirectory(prefix="onnxfix-") as folder:
            source = Model(editor.model.ir, Path("float.onnx"), editor.model.external_files).save(
                Path(folder) / "float.onnx"
            )
            result = self._quantized(source, left)
            adopt(editor, result, f"{len(wanted)} linears to int8")

    def measure(self, model: Model) -> float:
        return float(sum(not x.quantized for x in linears.find(model)))

    def _takes(self, linear: linears.Linear) -> bool:
        """A float32 weight that stands at the product itself."""
        tensor = constant_tensor(linear.weight.source)
        in_float = tensor is not None and tensor.dtype == ir.DataType.FLOAT and not linear.weight.path
        return in_float and not linear.quantized and linear.node.name not in self.blocked

    def _quantized(self, source: Path, left: list[str]) -> ir.Model:
        from onnxruntime.quantization import QDQQuantizer, QuantType
        from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

        found = ranges(source, self.inputs, self.method, PRODUCTS)
        try:
            with quiet():
                quantizer = QDQQuantizer(
                    load_model_with_shape_infer(source),
                    per_channel=True,
                    reduce_range=False,
                    weight_qType=QuantType.QInt8,
                    activation_qType=QuantType.QInt8 if self.symmetric else QuantType.QUInt8,
                    tensors_range=found,
                    nodes_to_quantize=[],
                    nodes_to_exclude=left,
                    op_types_to_quantize=list(PRODUCTS),
                    extra_options={"ActivationSymmetric": self.symmetric, "WeightSymmetric": True},
                )
                quantizer.quantize_model()
        except Exception as error:  # the quantizer raises bare exceptions and assertion errors
            raise OnnxfixError(
                f"ONNX Runtime's quantizer failed: {one_line(error)}", "run again with --debug"
            ) from error
        # through a file, which is read in topological order: the quantizer appends its nodes
        path, external = source.with_name("int8.onnx"), source.with_name(source.name + ".data").exists()
        quantizer.model.save_model_to_file(str(path), external)
        result = Model.open(path).ir
        ir.external_data.load_to_model(result)  # the files vanish with the folder
        return result

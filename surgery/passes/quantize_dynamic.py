"""int8 dynamic quantization for CPU by ONNX Runtime's quantizer, told to reach every linear and nothing else."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import onnx_ir as ir

from onnxfix.errors import OnnxfixError
from onnxfix.finding import Applicability
from onnxfix.model import Model
from onnxfix.surgery import engines
from onnxfix.surgery.adoption import adopt
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.sites import linears
from onnxfix.surgery.sites.constants import constant_tensor


@dataclass(frozen=True)
class QuantizeDynamic:
    """Quantize the weights of all linear layers to int8, per channel; activations are quantized at run time.

    The engine is `onnxruntime.quantization.quantize_dynamic`, for MatMul and Gemm alike (the dynamo exporter writes
    linears as either). Rotary angle products are excluded. Per-channel symmetric weights keep the error of a linear
    near 1 %; per-tensor weights were measured several times worse. The result computes in `MatMulInteger`, for which
    ONNX Runtime has no CUDA kernel for uint8 activations: this is a conversion for CPU.

    Measure: linears that compute in float.
    """

    name: ClassVar[str] = "quantize-dynamic"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    blocked: tuple[str, ...] = ()
    """Names of nodes that stay in float."""
    per_channel: bool = True
    reduce_range: bool = False
    """7-bit weights: for u8 × s8 kernels without VNNI, whose 16-bit sums saturate."""
    alone: bool = False
    """Call the quantizer on the graph as it is, as its documentation says: for comparison."""

    def apply(self, editor: Editor) -> None:
        if self.alone:
            self._call_alone(editor)
            return
        wanted = {x.node for x in linears.find(editor.model) if self._takes(x)}
        if not wanted:
            return
        left = [editor.named(n) for n in editor.model.nodes() if n.op_type in ("MatMul", "Gemm") and n not in wanted]
        with tempfile.TemporaryDirectory(prefix="onnxfix-") as folder:
            result = self._quantize(editor.model, left, Path(folder))
            adopt(editor, result, f"{len(wanted)} linears to int8")

    def _takes(self, linear: linears.Linear) -> bool:
        """A float32 weight of the main graph: what the quantizer accepts."""
        tensor = constant_tensor(linear.weight.source)
        in_float = tensor is not None and tensor.dtype == ir.DataType.FLOAT
        return in_float and not linear.quantized and linear.node.name not in self.blocked

    def measure(self, model: Model) -> float:
        return float(sum(not x.quantized for x in linears.find(model)))

    def _call_alone(self, editor: Editor) -> None:
        with tempfile.TemporaryDirectory(prefix="onnxfix-") as folder:
            source = _detached(editor.model).save(Path(folder) / "float.onnx")
            result = Model.open(engines.runtime_int8_past_inference(source, Path(folder) / "int8.onnx")).ir
            ir.external_data.load_to_model(result)  # the files vanish with the folder
            adopt(editor, result, "by the quantizer alone")

    def _quantize(self, model: Model, left: list[str], folder: Path) -> ir.Model:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        source = _detached(model).save(folder / "float.onnx")
        external = (folder / "float.onnx.data").exists()
        try:
            with engines.quiet():
                quantize_dynamic(
                    source,
                    folder / "int8.onnx",
                    op_types_to_quantize=["MatMul", "Gemm"],
                    # by exclusion, because the quantizer turns Gemm into a MatMul of another name first
                    nodes_to_exclude=[*left, *(f"{name}_MatMul" for name in left)],
                    per_channel=self.per_channel,
                    reduce_range=self.reduce_range,
                    weight_type=QuantType.QInt8,
                    use_external_data_format=external,
                    extra_options={
                        "DefaultTensorType": onnx.TensorProto.FLOAT,
                        "MatMulConstBOnly": True,
                        "EnableSubgraph": any(n.op_type in ("If", "Loop", "Scan") for n in model.nodes()),
                    },
                )
        except Exception as error:  # the quantizer raises bare exceptions and assertion errors
            raise OnnxfixError(f"ONNX Runtime's quantizer failed: {error}", "run again with --debug") from error
        result = Model.open(folder / "int8.onnx").ir
        if external:
            # the files vanish with the folder
            ir.external_data.load_to_model(result)
        return result


def _detached(model: Model) -> Model:
    """The same graph as a model without a source, so that it may be saved anywhere."""
    return Model(model.ir, Path("float.onnx"), model.external_files)

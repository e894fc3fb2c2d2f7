"""int8 dynamic quantization for CPU by ONNX Runtime's quantizer, told to reach every linear and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.surgery import engines
from onnxfix.surgery.editor import Editor
from onnxfix.surgery.int8 import tied_tables
from onnxfix.surgery.int8.quantizer import ALL, PRODUCTS, Selection, has_side_file, quantize
from onnxfix.surgery.sites.linear import linears


@dataclass(frozen=True)
class QuantizeDynamic:
    """Quantize the weights of all linear layers to int8, per channel; activations are quantized at run time.

    The engine is `onnxruntime.quantization.quantize_dynamic`, for MatMul and Gemm alike (the dynamo exporter writes
    linears as either). Rotary angle products are excluded. Per-channel symmetric weights keep the error of a linear
    near 1 %; per-tensor weights were measured several times worse. An embedding table that is the output layer, too, is
    stored once: lookups read the integers and multiply each row by its scale. The result computes in `MatMulInteger`,
    for which ONNX Runtime has no CUDA kernel for uint8 activations: this is a conversion for CPU.

    Measure: linears that compute in float.
    """

    name: ClassVar[str] = "quantize-dynamic"
    applicability: ClassVar[Applicability] = Applicability.NUMERIC
    repairs: ClassVar[tuple[str, ...]] = ()

    selection: Selection = ALL
    per_channel: bool = True
    reduce_range: bool = False
    """7-bit weights: for u8 × s8 kernels without VNNI, whose 16-bit sums saturate."""
    alone: bool = False
    """Call the quantizer on the graph as it is, as its documentation says: for comparison."""

    def apply(self, editor: Editor) -> None:
        if self.alone:
            quantize(editor, "by the quantizer alone", engines.runtime_int8_past_inference)
            return
        found = self.selection.in_float32(editor.model)
        wanted = {x.node for x in found}
        if not wanted:
            return
        editor.name_all()
        ties = tied_tables.find(editor, found)
        left = [editor.named(n) for n in editor.model.nodes() if n.op_type in PRODUCTS and n not in wanted]
        nested = any(n.op_type in ("If", "Loop", "Scan") for n in editor.model.nodes())
        quantize(
            editor,
            f"{len(wanted)} linears to int8",
            lambda source, result: self._call(source, result, left, nested),
        )
        tied_tables.tie(editor, ties)

    def measure(self, model: Model) -> float:
        return float(sum(not x.quantized for x in linears.find(model)))

    def _call(self, source: Path, result: Path, left: list[str], nested: bool) -> None:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(
            source,
            result,
            op_types_to_quantize=list(PRODUCTS),
            # by exclusion, because the quantizer turns Gemm into a MatMul of another name first
            nodes_to_exclude=[*left, *(f"{name}_MatMul" for name in left)],
            per_channel=self.per_channel,
            reduce_range=self.reduce_range,
            weight_type=QuantType.QInt8,
            use_external_data_format=has_side_file(source),
            extra_options={
                "DefaultTensorType": onnx.TensorProto.FLOAT,
                "MatMulConstBOnly": True,
                "EnableSubgraph": nested,
            },
        )

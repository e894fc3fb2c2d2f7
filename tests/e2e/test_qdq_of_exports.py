"""Q004 on quantized real exports, against the products that ONNX Runtime's optimised graph leaves in float."""

from __future__ import annotations

from pathlib import Path

import graphs
import onnx
import pytest
import scheme_table
from onnx import GraphProto

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

CPU = Target.resolve("cpu")
SCHEMES = [name for name in scheme_table.SCHEMES if "static" in name or "Dequantize" in name]


def in_float(graph: GraphProto) -> int:
    """Products with a constant operand, dequantized or not, of which an operand is dequantized."""
    made = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name for tensor in graph.initializer}

    def dequantizer(name: str) -> onnx.NodeProto | None:
        return made[name] if name in made and made[name].op_type == "DequantizeLinear" else None

    found = 0
    for node in graph.node:
        if node.op_type in ("MatMul", "Gemm", "FusedMatMul"):
            behind = [dequantizer(name) for name in node.input[:2]]
            roots = [name if dq is None else dq.input[0] for dq, name in zip(behind, node.input, strict=False)]
            found += any(dq is not None for dq in behind) and any(root in constants for root in roots)
    return found


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["legacy", "dynamo"])
def test_products_left_in_float_are_counted(name: str, scheme: str, exports: dict[str, Path], tmp_path: Path) -> None:
    import onnxruntime

    model = scheme_table.SCHEMES[scheme](Model.open(exports[name]), CPU)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    proto = graphs.proto_of(model).SerializeToString()
    onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    left = in_float(onnx.load(tmp_path / "optimised.onnx").graph)
    report = diagnose(model, CPU)
    said = [f.evidence["count"] for f in report.findings if f.code == "Q004"]
    assert sum(int(str(count)) for count in said) == left
    fused = sum(int(str(n)) for n in dict(report.quantization["providers"]).values())  # type: ignore[call-overload]
    assert fused + left + int(str(report.quantization["heads"])) == report.quantization["linears"] == 18

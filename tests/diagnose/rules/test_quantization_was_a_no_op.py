"""Q002: ONNX Runtime's own quantizer, run as people run it, on weights it cannot see."""

import tempfile
from pathlib import Path

import graphs
import numpy as np

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

SITES = ["MatMul_h"]
TARGET = "cpu"
WEIGHT = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)


def quantized(model: Model) -> Model:
    from onnxruntime.quantization import quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source = model.save(Path(folder) / "float.onnx")
        quantize_dynamic(source, Path(folder) / "int8.onnx", op_types_to_quantize=["MatMul"])
        return Model.open(Path(folder) / "int8.onnx")


def BAD() -> Model:
    hidden = "t = Transpose<perm = [1, 0]>(w)\n h = MatMul(x, t)"
    return quantized(graphs.model(f"g (float[batch,16] x) => (float[batch,16] h) {{ {hidden} }}", {"w": WEIGHT}))


def SOUND() -> Model:
    return quantized(graphs.model("g (float[batch,16] x) => (float[batch,16] h) { h = MatMul(x, w) }", {"w": WEIGHT}))


def test_counts_what_was_skipped_and_why() -> None:
    report = diagnose(BAD(), Target.resolve("cpu"))
    (finding,) = [f for f in report.findings if f.code == "Q002"]
    assert (finding.evidence["linears"], finding.evidence["quantized"]) == (1, 0)
    assert "behind Transpose" in finding.message
    assert report.quantization["linears"] == 1 and report.quantization["quantized"] == 0


def test_a_float_model_is_no_finding() -> None:
    model = graphs.model("g (float[batch,16] x) => (float[batch,16] h) { h = MatMul(x, w) }", {"w": WEIGHT})
    assert "Q002" not in {f.code for f in diagnose(model, Target.resolve("cpu")).findings}

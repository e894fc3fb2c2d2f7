"""Q005: planted neighbours at ±127 are reported, ordinary weights and 7-bit weights are not."""

import graphs
import numpy as np
import pytest

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.finding import Finding
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.quantize_dynamic import QuantizeDynamic

SITES = ["MatMulInteger_y"]
TARGET = "cpu"
TEXT = """g (uint8[m,256] x) => (int32[m,64] y, int32[m,64] o) { y = MatMulInteger(x, planted)
    o = MatMulInteger(x, ordinary) }"""
FLOAT = np.random.default_rng(0).normal(size=(256, 64)).astype(np.float32)
ORDINARY = np.round(FLOAT / np.abs(FLOAT).max(axis=0) * 127).astype(np.int8)


def planted(value: int = 127) -> np.ndarray:
    weight = ORDINARY.copy() if value == 127 else (ORDINARY // 2).astype(np.int8)
    weight[:8] = value
    return weight


def BAD() -> Model:
    return graphs.model(TEXT, {"planted": planted(), "ordinary": ORDINARY})


def SOUND() -> Model:
    return graphs.model(TEXT, {"planted": planted(64), "ordinary": ORDINARY})


def findings(model: Model, target: str = "cpu") -> list[Finding]:
    return [f for f in diagnose(model, Target.resolve(target)).findings if f.code == "Q005"]


def test_says_how_much_and_of_what() -> None:
    (finding,) = findings(BAD())
    assert finding.evidence["pairs"] == 128 * 64 and finding.evidence["inputs"] == 256
    assert int(str(finding.evidence["saturating_pairs"])) >= 4 * 64
    assert float(str(finding.evidence["expected_loss"])) > 0.3
    assert findings(BAD(), "cuda") == []


@pytest.mark.parametrize("depth", [128, 256, 768, 3072])
@pytest.mark.parametrize("kind", ["normal", "heavy tails"])
def test_ordinary_weights_are_silent(depth: int, kind: str) -> None:
    rng = np.random.default_rng(depth)
    weight = rng.normal(size=(depth, 64)) if kind == "normal" else rng.standard_t(4, (depth, 64))
    quantized = np.round(weight / np.abs(weight).max(axis=0) * 127).astype(np.int8)
    text = f"g (uint8[m,{depth}] x) => (int32[m,64] y) {{ y = MatMulInteger(x, w) }}"
    assert findings(graphs.model(text, {"w": quantized})) == []


def test_the_repair_it_names() -> None:
    """Uniform weights: a quarter of their pairs can saturate, and none once they have 7 bits."""
    weight = np.random.default_rng(1).uniform(-1, 1, (64, 32)).astype(np.float32)
    text = "g (float[m,64] x) => (float[m,32] y) { y = MatMul(x, w) }"
    for reduced, count in ((False, 1), (True, 0)):
        model = graphs.model(text, {"w": weight})
        graph_pass.run(QuantizeDynamic(reduce_range=reduced), model)
        assert len(findings(model)) == count


def test_a_float_product_between_dequantizers() -> None:
    text = """g (uint8[m,256] x) => (float[m,64] y) { d = DequantizeLinear(x, s) v = DequantizeLinear(w, s)
        y = MatMul(d, v) }"""
    (finding,) = findings(graphs.model(text, {"w": planted(), "s": np.float32(0.1)}))
    assert finding.site.op_type == "MatMul"

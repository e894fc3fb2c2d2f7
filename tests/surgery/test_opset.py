"""Raising the operator set: bits stay, and nothing is raised that need not be."""

import graphs
import numpy as np
import pytest

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.outline_fp32_islands import OutlineFp32Islands

PASS = OutlineFp32Islands(Target.resolve("cuda"))
RNG = np.random.default_rng(0)


def old(opset: int) -> Model:
    text = """g (float[s,8] x, bool[s,8] seen) => (float[s,8] y) {
        h = Softmax(x)
        m = Cast<to = 1>(seen)
        y = Mul(h, m)
    }"""
    return graphs.model(text, opset=opset, ir_version=7)


@pytest.mark.parametrize("opset", [11, 13])
def test_an_older_opset_is_raised_to_have_cast_like(opset: int) -> None:
    model = old(opset)
    notes = graph_pass.run(PASS, model).notes
    assert model.opset == 15 and notes == (f"operator set {opset} → 15, which CastLike needs",)
    given = {"x": RNG.normal(size=(3, 8)).astype(np.float32), "seen": RNG.random((3, 8)) < 0.5}
    np.testing.assert_array_equal(graphs.run(model, given)["y"], graphs.run(old(opset), given)["y"])


def test_an_older_opset_stays_where_nothing_needs_cast_like() -> None:
    model = graphs.model("g (float[b,8] x) => (float[b,8] y) { y = Tanh(x) }", opset=12, ir_version=7)
    assert not graph_pass.run(PASS, model).changes


def test_what_the_converter_does_not_know_is_refused() -> None:
    """ONNX Runtime's optimiser writes this operator into ai.onnx, where onnx has no such schema."""
    model = graphs.model(
        """g (float[s,8] x, bool[s,8] seen, float[8] scale) => (float[s,8] y) {
        h = SimplifiedLayerNormalization(x, scale)
        m = Cast<to = 1>(seen)
        y = Mul(h, m)
    }""",
        opset=13,
        ir_version=7,
    )
    with pytest.raises(OnnxfixError, match="CastLike needs operator set 15; this model has 13"):
        graph_pass.run(PASS, model)

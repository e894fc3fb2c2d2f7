"""F002: attention out of products and a Softmax, whatever is added to its scores, and what is no such attention."""

from __future__ import annotations

import pytest
from encoder_graphs import GROUPED, HEAD, MLP, encoder, seeing

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.fuse_attention import FuseAttention

SITES = ["Softmax_p"]
TARGET = "cpu"


def BAD() -> Model:
    return encoder()


def SOUND() -> Model:
    """The same in one operator."""
    model = encoder()
    graph_pass.run(FuseAttention(), model)
    return model


def found(model: Model, target: str = TARGET) -> list[Finding]:
    return [f for f in diagnose(model, Target.resolve(target)).findings if f.code == "F002"]


@pytest.mark.parametrize("model", [encoder("", GROUPED + MLP), seeing("a band"), seeing("those before")])
def test_heads_in_groups_bands_and_causal_masks(model: Model) -> None:
    layers = [node for node in model.nodes() if node.op_type == "Softmax"]
    findings = found(model)
    assert len(findings) == len(layers) and {f.severity for f in findings} == {Severity.NOTE}
    assert findings[0].evidence == {"heads": 3, "size": 8, "added": 1} and findings[0].repair == "onnxfix optimize"


def test_where_no_operator_of_attention_would_be_written_there_is_no_finding() -> None:
    assert found(encoder(), "cuda") and found(encoder(), "openvino") and not found(encoder(), "tensorrt")


def test_a_softmax_of_classes_is_none() -> None:
    model = encoder(MLP.replace("y = Add(r, d)", "z = Add(r, d) y = Softmax(z)"))
    assert len(found(model)) == 1


def test_scores_that_something_else_reads_are_none() -> None:
    text = HEAD.replace("c = MatMul(p, v)", "p2 = Mul(p, p) c = MatMul(p2, v)")
    assert not found(encoder("", text + MLP))

"""F004: linears of tokens that a mask hides, and graphs that have none of these."""

from __future__ import annotations

import pytest
from encoder_graphs import HEAD, MLP, encoder

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.pack_tokens import PackTokens

SITES = ["attention_mask"]
TARGET = "cpu"


def BAD() -> Model:
    return encoder()


def SOUND() -> Model:
    """The same of real tokens alone."""
    model = encoder()
    graph_pass.run(PackTokens(), model)
    return model


def found(model: Model, target: str = TARGET) -> list[Finding]:
    return [f for f in diagnose(model, Target.resolve(target)).findings if f.code == "F004"]


@pytest.mark.parametrize("target", ["cpu", "cuda", "tensorrt", "openvino"])
def test_every_product_is_counted(target: str) -> None:
    (finding,) = found(encoder(), target)
    assert finding.severity is Severity.NOTE and finding.repair == "onnxfix optimize"
    assert finding.message == "linears and all around them compute tokens that attention_mask says are padding"
    assert finding.evidence == {"products": 6, "mask": "attention_mask"}


def test_what_reads_padding_is_no_finding() -> None:
    mean = MLP.replace("y = Add(r, d)", "z = Add(r, d) y = ReduceMean<keepdims = 0>(z, ends)")
    assert not found(encoder(mean, HEAD.replace("float[batch,sequence,24] y", "float[batch,24] y")))


def test_without_a_mask_there_is_no_padding() -> None:
    text = (HEAD + MLP).replace(", int64[batch,sequence] attention_mask)", ")").replace(
        "Cast<to = 9>(attention_mask)", "GreaterOrEqual(input_ids, first)").replace(
        "ends = ", "first = Constant<value_int = 0>() ends = ", 1)  # fmt: skip
    assert not found(encoder("", text))

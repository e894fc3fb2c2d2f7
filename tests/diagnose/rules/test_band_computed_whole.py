"""F005: attention of a band that computes all scores, and attention that sees more than a band."""

from __future__ import annotations

import pytest
from encoder_graphs import HEAD, SEES, encoder, seeing

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.band_local_attention import BandLocalAttention
from onnxfix.surgery.passes.fuse_attention import FuseAttention
from onnxfix.surgery.passes.pack_tokens import PackTokens

SITES = ["Softmax_p_2"]
TARGET = "cpu"


def BAD() -> Model:
    return seeing("a band")


def SOUND() -> Model:
    """The same in blocks of queries and the keys that they reach."""
    model = seeing("a band")
    for each in (FuseAttention(), PackTokens(), BandLocalAttention()):
        graph_pass.run(each, model)
    return model


def found(model: Model, target: str = TARGET) -> list[Finding]:
    return [f for f in diagnose(model, Target.resolve(target)).findings if f.code == "F005"]


@pytest.mark.parametrize("target", ["cpu", "cuda", "openvino"])
@pytest.mark.parametrize(
    ("kind", "sides"), [("a band", (2, 2)), ("a band of one side", (2, 0)), ("a band of counted tokens", (2, 2))]
)
def test_both_sides_are_said(kind: str, sides: tuple[int, int], target: str) -> None:
    (finding,) = found(seeing(kind), target)
    assert finding.severity is Severity.NOTE and finding.evidence == {"before": sides[0], "after": sides[1]}
    assert finding.repair == "onnxfix optimize"
    assert "a query sees 2 tokens before and" in finding.message


def test_one_operator_computes_them_whole_as_well() -> None:
    model = seeing("a band")
    graph_pass.run(FuseAttention(), model)
    (finding,) = found(model)
    assert finding.site.op_type == "MultiHeadAttention" and finding.repair == "onnxfix optimize"


def test_what_sees_all_before_or_all_is_no_band() -> None:
    assert set(SEES) - {"those before"} == {kind for kind in SEES if found(seeing(kind))}
    assert not found(encoder()) and not found(seeing("a band"), "tensorrt")


def test_a_band_over_padding_is_said_and_no_repair_promised() -> None:
    """Blocks are of real tokens: where a token sees padding none is left out."""
    near = "window = Constant<value_int = 2>()" + SEES["a band"].replace("near =", "wide =")
    model = encoder(head=HEAD.replace("wide = Unsqueeze(seen, around)", near))
    (finding,) = found(model)
    assert finding.evidence == {"before": 2, "after": 2} and not finding.repair

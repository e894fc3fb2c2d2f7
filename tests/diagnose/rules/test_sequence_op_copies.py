"""K001: SplitToSequence sends an activation to the host and back."""

import graphs

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

SITES = ["SplitToSequence_s"]


def BAD() -> Model:
    """A gated MLP as the dynamo exporter writes it without its optimizer."""
    return graphs.model("""g (float[batch,sequence,8] x) => (float[batch,sequence,4] y)
        <int64 size = {4}, int64 first = {0}, int64 second = {1}> {
        h = Gelu(x)
        s = SplitToSequence<axis = -1>(h, size)
        a = SequenceAt(s, first)
        b = SequenceAt(s, second)
        y = Mul(a, b)
    }""")


def SOUND() -> Model:
    return graphs.model("""g (float[batch,sequence,8] x) => (float[batch,sequence,4] y) <int64[2] sizes = {4, 4}> {
        h = Gelu(x)
        a, b = Split<axis = -1>(h, sizes)
        y = Mul(a, b)
    }""")


def test_names_both_copies_and_their_cause() -> None:
    report = diagnose(BAD(), Target.resolve("cuda"))
    assert sorted(c.direction for c in report.plan.copies) == ["from_host", "to_host"]
    assert {c.cause_op_type for c in report.plan.copies} == {"SplitToSequence"}
    (finding,) = [f for f in report.findings if f.code == "K001"]
    assert finding.severity == "error" and finding.applicability == "exact"
    assert finding.evidence["to_host"] == ["h"]


def test_says_nothing_on_a_cpu_target() -> None:
    assert "K001" not in {f.code for f in diagnose(BAD(), Target.resolve("cpu")).findings}

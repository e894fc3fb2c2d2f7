"""K002: Hardmax has no CUDA kernel, Softmax has."""

import graphs

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

SITES = ["Hardmax_h"]
TEXT = """g (float[batch,8] x) => (float[batch,8] y) {
    a = Sigmoid(x)
    h = %s(a)
    y = Mul(h, a)
}"""


def BAD() -> Model:
    return graphs.model(TEXT % "Hardmax")


def SOUND() -> Model:
    return graphs.model(TEXT % "Softmax")


def test_is_an_error_where_activations_are_copied() -> None:
    (finding,) = [f for f in diagnose(BAD(), Target.resolve("cuda")).findings if f.code == "K002"]
    assert finding.severity == "error"
    assert set(finding.evidence["copies"] or []) == {"a", "h"}


def test_shape_arithmetic_is_no_finding() -> None:
    """ONNX Runtime moves it to the host on purpose, and without copies."""
    model = graphs.model("""g (float[batch,sequence,8] x, float[1,1] z) => (float[n,m] y)
        <int64[1] i = {0}, int64[1] j = {1}> {
        s = Shape(x)
        b = Gather(s, i)
        l = Gather(s, j)
        n = Mul(b, l)
        shape = Concat<axis = 0>(n, b)
        y = Expand(z, shape)
    }""")
    report = diagnose(model, Target.resolve("cuda"))
    assert "CPUExecutionProvider" in report.plan.providers()
    assert [f.code for f in report.findings] == []

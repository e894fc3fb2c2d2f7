"""K004: what ONNX Runtime refuses is still diagnosed, with the runtime's own words."""

import graphs

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

SITES = ["Frobnicate_h"]
TEXT = """<ir_version: 10, opset_import: ["" : 20, "com.example" : 1]>
g (float[batch,8] x) => (float[batch,8] y) {
    h = %s(x)
    y = Relu(h)
}"""


def BAD() -> Model:
    return graphs.model(TEXT % "com.example.Frobnicate")


def SOUND() -> Model:
    return graphs.model(TEXT % "Sigmoid")


def test_a_newer_ir_version_is_diagnosed_with_the_message() -> None:
    model = SOUND()
    model.ir.ir_version = 99
    report = diagnose(model, Target.resolve("cuda"))
    (finding,) = [f for f in report.findings if f.code == "K004"]
    assert "IR version" in finding.message and finding.evidence["ir_version"] == 99
    assert report.fails("error")


def test_unknown_operators_are_named() -> None:
    (finding,) = [f for f in diagnose(BAD(), Target.resolve("cuda")).findings if f.code == "K004"]
    assert finding.evidence["unknown_operators"] == ["com.example::Frobnicate"]

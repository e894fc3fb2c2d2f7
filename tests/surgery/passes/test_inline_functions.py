"""Model-local functions → their bodies."""

import graphs
import onnx

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.inline_functions import InlineFunctions

PASS = InlineFunctions()
TEXT = """<ir_version: 10, opset_import: ["" : 20, "local" : 1]>
g (float[batch,4] x) => (float[batch,4] y) {
    h = local.gate(x)
    y = local.gate(h)
}
<opset_import: ["" : 20], domain: "local">
gate (a) => (b) {
    s = Sigmoid(a)
    b = Mul(a, s)
}"""


def BAD() -> Model:
    return graphs.opened(onnx.parser.parse_model(TEXT))


def SOUND() -> Model:
    return graphs.model("g (float[batch,4] x) => (float[batch,4] y) { s = Sigmoid(x)\n y = Mul(x, s) }")


def test_every_call_becomes_its_body() -> None:
    model = BAD()
    graph_pass.run(PASS, model)
    assert sorted(graphs.op_types(model)) == ["Mul", "Mul", "Sigmoid", "Sigmoid"]
    assert not model.ir.functions

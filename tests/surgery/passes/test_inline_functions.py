"""Model-local functions → their bodies."""

import graphs
import numpy as np
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


CLASH = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
g (float[n,4] x, bool c) => (float[n,4] y) <float[4,4] w = {1,0,0,0, 0,2,0,0, 0,0,3,0, 0,0,0,4}> {
    h = my.Twice (x, w)
    k = my.Twice (h, w)
    y = If (c) <
        then_branch = a () => (float[n,4] t) <float[4] tmp_1 = {1, 1, 1, 1}>
            { tmp = MatMul (k, w) s = Add(tmp, tmp_1) t = Tanh (s) },
        else_branch = b () => (float[n,4] e) { e = my.Twice (k, w) }>
}
<opset_import: ["" : 17], domain: "my"> Twice (x, w) => (y) { tmp = MatMul (x, w) y = Add (tmp, tmp) }"""


def test_a_name_of_a_body_is_no_name_of_what_is_inlined() -> None:
    """The branch has values named as the function's, and as its second call's may be."""
    model = graphs.model(CLASH)
    feeds = [{"x": np.ones((2, 4), np.float32), "c": np.array(case)} for case in (True, False)]
    wanted = [graphs.run(model, feed)["y"] for feed in feeds]
    graph_pass.run(PASS, model)
    onnx.checker.check_model(graphs.proto_of(model), full_check=True)
    assert not model.ir.functions
    for feed, expected in zip(feeds, wanted, strict=True):
        np.testing.assert_array_equal(graphs.run(model, feed)["y"], expected)

"""K009: nodes of one graph that have one name are named, with what each makes."""

import graphs
import numpy as np
import pytest

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

SITES = ["Relu_h"]
TEXT = "g (float[n,4] x) => (float[n,4] y) { h = Relu(x) k = Neg(h) y = Tanh(k) }"
BODY = """g (bool c, float[4] x) => (float[4] y) { y = If (c) <
    then_branch = a () => (float[4] t) { s = Neg(x) t = Relu(s) },
    else_branch = b () => (float[4] e) { e = Neg(x) }> }"""

CONSTANTS = """g (float[4] x) => (float[4] y) {
    a = Constant<value_float = 1.0>() b = Constant<value_float = 2.0>() c = Add(a, b) y = Add(x, c) }"""


def named(text: str, *names: tuple[str, str]) -> Model:
    """The model with other names of nodes, by the ones they have."""
    model = graphs.model(text)
    for old, new in names:
        graphs.node_named(model, old).name = new
    return model


def BAD() -> Model:
    return named(TEXT, ("Neg_k", "Relu_h"))


def SOUND() -> Model:
    """Nodes without a name are none of one name, and two graphs may have the same."""
    return named(BODY, ("Neg_s", ""), ("Relu_t", ""), ("Neg_e", "If_y"))


@pytest.mark.parametrize(
    "model", [named(TEXT, ("Neg_k", "Relu_h"), ("Tanh_y", "Relu_h")), named(BODY, ("Neg_s", "x"), ("Relu_t", "x"))]
)
def test_at_any_depth(model: Model) -> None:
    found = {f.code: f for f in diagnose(model, Target.resolve("cuda")).findings}
    assert "K009" in found and found["K009"].repair == "onnxfix repair --precision fp32"
    assert found["K009"].evidence["nodes"] == len({n.op_type for n in model.nodes()} - {"If"})


@pytest.mark.parametrize("model", [BAD(), SOUND(), named(CONSTANTS, ("Constant_a", "Add_y"), ("Constant_b", "Add_y"))])
def test_the_runtime_refuses_what_is_named(model: Model) -> None:
    """And takes what is not: Constants of one name, and a node of theirs."""
    codes = {f.code for f in diagnose(model, Target.resolve("cpu")).findings}
    try:
        feed = {"x": np.ones(4, np.float32)} if len(model.graph.inputs[0].shape or ()) < 2 else None
        graphs.run(model, feed or {v.name: np.ones((2, 4), np.float32) for v in model.graph.inputs})
        loads = True
    except Exception as error:  # the runtime's own
        loads = "same node name" not in str(error)
    assert loads is ("K009" not in codes)

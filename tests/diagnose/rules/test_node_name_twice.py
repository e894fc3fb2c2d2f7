"""K009: nodes of one graph that have one name are named, with what each makes."""

import graphs
import pytest

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

SITES = ["Relu_h"]
TEXT = "g (float[n,4] x) => (float[n,4] y) { h = Relu(x) k = Neg(h) y = Tanh(k) }"
BODY = """g (bool c, float[4] x) => (float[4] y) { y = If (c) <
    then_branch = a () => (float[4] t) { s = Neg(x) t = Relu(s) },
    else_branch = b () => (float[4] e) { e = Neg(x) }> }"""


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

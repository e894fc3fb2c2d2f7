"""P001: all type conflicts, each at its node."""

import graphs

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer

# The two failures that half converters are known for: a Cast left at fp32 and a value_info entry left at fp32.
SITES = ["Mul_m", "Expand_e"]


def BAD() -> Model:
    return graphs.model("""g (float16[batch,4] x, int64[2] shape) => (float16[batch,4] y, float16[n,m] e) {
        c = Cast<to = 1>(x)
        m = Mul(x, c)
        y = Identity(m)
        e = Expand(c, shape)
    }""")


def SOUND() -> Model:
    return graphs.model("""g (float16[batch,4] x, int64[2] shape) => (float16[batch,4] y, float16[n,m] e) {
        c = Cast<to = 10>(x)
        m = Mul(x, c)
        y = Identity(m)
        e = Expand(c, shape)
    }""")


def test_each_kind_is_told_apart() -> None:
    kinds = {c.site.node: c.kind for c in infer(BAD().ir).conflicts}
    assert kinds == {"Mul_m": "unify", "Expand_e": "declared"}


def test_an_operator_that_does_not_take_a_type() -> None:
    model = graphs.model("g (bool[4] a) => (bool[4] b) { b = Relu(a) }")
    (conflict,) = infer(model.ir).conflicts
    assert conflict.kind == "refused" and "tensor(bool)" in conflict.message


def test_conflicts_inside_sub_graphs_are_found() -> None:
    model = graphs.model("""g (bool c, float16[4] x, float[4] z) => (float16[4] y) {
        y = If (c) <then_branch = t () => (float16[4] p) { p = Add(x, z) }, else_branch = e () => (float16[4] q) { q = Neg(x) }>
    }""")  # noqa: E501
    assert [c.site.node for c in infer(model.ir).conflicts] == ["Add_p"]

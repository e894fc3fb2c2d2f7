"""S002: declared sizes that the graph contradicts."""

import graphs
import numpy as np
import onnx
import pytest

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery.graph_pass import run
from onnxfix.surgery.passes.correct_declared_shapes import CorrectDeclaredShapes

SITES = ["Concat_wide", "Exp_also", "Concat_y"]
TEXT = """g (float[batch,seq] x) => (float[batch,%s] y, float[batch,seq] z) {
    first = Relu(x)
    turned = Neg(first)
    wide = Concat<axis = 1>(turned, turned)
    also = Exp(wide)
    last = Neg(also)
    y = Concat<axis = 1>(last, one)
    z = Abs(x)
}"""


def declared(text: str, weights: dict[str, np.ndarray], **shapes: list[object]) -> Model:
    proto = graphs.proto_of(graphs.model(text, weights))
    for name, shape in shapes.items():
        proto.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    return graphs.opened(proto)


ONE = {"one": np.ones((1, 1), np.float32)}


def with_output(size: str, **shapes: list[object]) -> Model:
    text = (TEXT % size).replace("y = Concat<axis = 1>(last, one)", "y = Concat<axis = 1>(last, last)")
    return declared(text, {}, **shapes)


def BAD() -> Model:
    """Values inside and an output that are twice as wide as their name says."""
    return with_output("seq", wide=["batch", "seq"], also=["batch", "seq"], first=["batch", "seq"])


def SOUND() -> Model:
    """Right names, one that no input has for one size, an open axis, and sums of names."""
    return with_output("wider", wide=["batch", "2*seq"], also=["batch", None], last=["batch", "seq + seq"])


def found(model: Model) -> dict[str, str]:
    report = diagnose(model, Target.resolve("cpu"))
    return {f.site.value: f.message for f in report.findings if f.code == "S002"}


def test_it_says_which_output_and_which_axis() -> None:
    assert found(with_output("seq")) == {"y": "output y axis 1 is declared seq and is another size"}
    fixed = declared("g (float[batch,5] x) => (float[batch,7] y) { y = Concat<axis = 1>(x, x) }", {})
    assert found(fixed) == {"y": "output y axis 1 is declared 7 and is 10 whatever the inputs"}
    turned = declared("g (float[a,b] x) => (float[a,b] y) { y = Transpose<perm = [1, 0]>(x) }", {})
    assert found(turned) == {"y": "output y axis 0 is declared a and is b, axis 1 is declared b and is a"}
    rank = declared("g (float[a,b] x) => (float[a,b,1] y) { y = Transpose<perm = [1, 0]>(x) }", {})
    assert found(rank) == {"y": "output y is declared of rank 3 and has rank 2"}


def test_one_name_for_two_sizes_is_one_too_many() -> None:
    """A name that no input has means one size, whichever; where the graph makes two of it, one is wrong."""
    text = """g (float[a,b] x) => (float[n,m] y, float[n,m] z, float[n,m] w) {
        y = Abs(x) z = Neg(x) w = Concat<axis = 1>(x, x)
    }"""
    assert found(declared(text, {})) == {"w": "output w axis 1 is declared m and is another size"}


def test_the_runtime_fails_on_what_is_found() -> None:
    """What the rule warns of, in ONNX Runtime, and that it is gone with the right names."""
    model = with_output("k", wide=["batch", "seq"], also=["batch", "seq"], last=["batch", "seq"])
    x = np.random.default_rng(0).standard_normal((2, 5)).astype(np.float32)
    with pytest.raises(Exception, match="re-use buffer"):
        graphs.run(model, {"x": x})
    run(CorrectDeclaredShapes(), model)
    expected = np.concatenate([-np.exp(-np.maximum(x, 0))] * 4, axis=1)
    np.testing.assert_allclose(graphs.run(model, {"x": x})["y"], expected, rtol=1e-6)

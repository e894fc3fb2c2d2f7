"""Declared shapes become what the graph makes; what is right, or not known, stays as it is."""

import graphs
import numpy as np
import onnx

from onnxfix.nouns.model import Model
from onnxfix.surgery.graph_pass import run
from onnxfix.surgery.passes.correct_declared_shapes import CorrectDeclaredShapes

PASS = CorrectDeclaredShapes()
TEXT = """g (float[batch,seq] x) => (float[batch,%s] y, float[%s] total) {
    wide = Concat<axis = 1>(x, x)
    turned = Transpose<perm = [1, 0]>(wide)
    y = Transpose<perm = [1, 0]>(turned)
    rows = ReduceSum<keepdims = 0>(x, last)
    total = ReduceMax<keepdims = 0>(rows)
    count = NonZero(x)
}"""


def made(wide: str, total: str, **shapes: list[object]) -> Model:
    proto = graphs.proto_of(graphs.model(TEXT % (wide, total), {"last": np.array([1])}))
    for name, shape in shapes.items():
        kind = onnx.TensorProto.INT64 if name == "count" else onnx.TensorProto.FLOAT
        proto.graph.value_info.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    return graphs.opened(proto)


def BAD() -> Model:
    return made("seq", "batch", turned=["seq", "batch"], rows=["seq"], count=[2, "found"])


def SOUND() -> Model:
    return made("wide", "", turned=["2*seq", "batch"], rows=["batch"], count=[2, "found"])


def test_each_axis_is_declared_as_the_graph_makes_it() -> None:
    model = BAD()
    run(PASS, model)
    shapes = {v.name: v.shape for n in model.nodes() for v in n.outputs if v.shape is not None}
    found = {name: [d if isinstance(d, int) else d.value for d in shape] for name, shape in shapes.items()}
    assert found == {
        "y": ["batch", None], "turned": [None, "batch"], "rows": ["batch"], "total": [], "count": [2, "found"],
    }  # fmt: skip

"""value_info of initializers is dropped, that of anything else kept."""

import graphs
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxfix.nouns.model import Model
from onnxfix.surgery.graph_pass import run
from onnxfix.surgery.passes.drop_initializer_value_info import DropInitializerValueInfo

PASS = DropInitializerValueInfo()
TEXT = """g (float[batch,4] x) => (float[batch,3] y) {
    h = Gemm<transB = 1>(x, w)
    y = Relu(h)
}"""


def BAD() -> Model:
    proto = graphs.proto_of(SOUND())
    for name, shape in (("w", [3, 4]), ("h", ["batch", 3])):
        proto.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    return graphs.opened(proto)


def SOUND() -> Model:
    return graphs.model(TEXT, {"w": np.ones((3, 4), dtype=np.float32)})


def test_only_initializers_lose_theirs() -> None:
    model = BAD()
    run(PASS, model)
    assert [v.name for v in graphs.proto_of(model).graph.value_info] == ["h"]


def test_a_model_that_came_without_is_saved_without() -> None:
    assert [v.name for v in graphs.proto_of(SOUND()).graph.value_info] == []


@pytest.mark.parametrize("inside", [False, True])
def test_a_weight_that_is_an_output_states_its_type(inside: bool) -> None:
    """Of the graph, or of a body that only hands on a constant of its own."""
    model = graphs.model(
        """g (float[batch,4] x, bool c) => (float[batch,3] y, float[3,4] r) { y = Gemm<transB = 1>(x, w)
            r = If (c) <then_branch = t () => (float[3,4] k) { k = Abs(w) },
                        else_branch = e () => (float[3,4] q) { q = Neg(w) }> }"""
        if inside
        else "g (float[batch,4] x) => (float[batch,3] y, float[3,4] w) { y = Gemm<transB = 1>(x, w) }",
        {"w": np.ones((3, 4), dtype=np.float32)},
    )
    if inside:
        body = next(n for n in model.nodes() if n.op_type == "If").attributes["then_branch"].as_graph()
        made = ir.Value(name="k", type=body.outputs[0].type, shape=body.outputs[0].shape)
        body.outputs[0] = made
        body.remove(body[0])
        made.const_value = ir.tensor(np.full((3, 4), 2, np.float32), name="k")
        body.register_initializer(made)
    before = model.fingerprint()
    assert not run(PASS, model).changes and model.fingerprint() == before
    onnx.checker.check_model(graphs.proto_of(model), full_check=True)

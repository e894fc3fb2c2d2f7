"""value_info of initializers is dropped, that of anything else kept."""

import graphs
import numpy as np
import onnx

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

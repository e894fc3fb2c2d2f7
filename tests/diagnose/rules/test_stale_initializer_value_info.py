"""S001: value_info of initializers."""

import graphs
import numpy as np
import onnx

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

SITES = ["w", "v"]
WEIGHTS = {"w": np.ones((3, 4), dtype=np.float32), "v": np.ones((3, 2), dtype=np.float32)}
TEXT = """g (float[batch,4] x) => (float[batch,2] y) {
    h = Gemm<transB = 1>(x, w)
    y = MatMul(h, v)
}"""


def declared(**shapes: list[int]) -> Model:
    proto = graphs.proto_of(graphs.model(TEXT, WEIGHTS))
    for name, shape in shapes.items():
        proto.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    return graphs.opened(proto)


def BAD() -> Model:
    """A right entry on a Gemm(transB=1) weight, which quantization makes stale, and a wrong one."""
    return declared(w=[3, 4], v=[2, 3])


def SOUND() -> Model:
    """No entry, and a right one on a weight that nothing transposes."""
    return declared(v=[3, 2])


def test_wrong_is_worse_than_at_risk() -> None:
    found = {f.site.value: f.severity for f in diagnose(BAD(), Target.resolve("cpu")).findings if f.code == "S001"}
    assert found == {"w": "note", "v": "warning"}


def test_silent_on_a_weight_that_is_an_output() -> None:
    proto = graphs.proto_of(graphs.model(TEXT, WEIGHTS))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, WEIGHTS["w"].shape))
    assert [f for f in diagnose(graphs.opened(proto), Target.resolve("cpu")).findings if f.code == "S001"] == []

"""W001: a weight that is also an input, and the same weight as a constant."""

import graphs
import numpy as np
import onnx

from onnxfix.nouns.model import Model

SITES = ["w"]
WEIGHT = {"w": np.eye(8, dtype=np.float32)}


def SOUND() -> Model:
    return graphs.model("g (float[b,8] x) => (float[b,8] y) { y = MatMul(x, w) }", WEIGHT)


def BAD() -> Model:
    proto = graphs.proto_of(SOUND())
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [8, 8]))
    return graphs.opened(proto)

"""Whether this machine's sums of int8 products are exact, found by multiplying."""

from __future__ import annotations

import functools

import numpy as np

from onnxfix.nouns.runtime.onnx_runtime import runtime


@functools.cache
def saturate() -> bool:
    """Whether ONNX Runtime sums pairs of uint8 × int8 products in 16 bits here, as on x86 CPUs without VNNI.

    255 · 127 twice is 64,770, of which 16 bits keep 32,767. Source: MLAS, MlasGemmU8S8KernelAvx2.
    """
    import onnx

    graph = onnx.parser.parse_graph(
        "pairs (uint8[m, k] a, int8[k, n] b) => (int32[m, n] y) { y = MatMulInteger(a, b) }"
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    session = runtime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    size = 64
    feed = {"a": np.full((size, size), 255, np.uint8), "b": np.full((size, size), 127, np.int8)}
    return bool((session.run(None, feed)[0] != 255 * 127 * size).any())

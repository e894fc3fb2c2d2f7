"""A graph with two linears, a MatMul and a Gemm, and one without: what tests of quantization share."""

from __future__ import annotations

import graphs
import numpy as np

from onnxfix.nouns.model import Model

RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.normal(size=(16, 32)).astype(np.float32),
    "v": RNG.normal(size=(8, 32)).astype(np.float32),
    "bias": RNG.normal(size=(8,)).astype(np.float32),
}


def two_linears() -> Model:
    """MatMul_h and Gemm_z, and a product of activations."""
    return graphs.model(
        """g (float[batch,16] x) => (float[batch,batch] y) {
        h = MatMul(x, w)
        z = Gemm<transB = 1>(h, v, bias)
        t = Transpose<perm = [1, 0]>(z)
        y = MatMul(z, t)
    }""",
        WEIGHTS,
    )


def no_linear() -> Model:
    """A product of activations only."""
    return graphs.model("""g (float[batch,16] x) => (float[batch,batch] y) {
        t = Transpose<perm = [1, 0]>(x)
        y = MatMul(x, t)
    }""")

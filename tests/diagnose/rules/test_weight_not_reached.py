"""Q001: weights that a quantizer does not see."""

import graphs
import numpy as np

from onnxfix.nouns.model import Model

SITES = ["MatMul_h", "MatMul_y"]
WEIGHTS = {"w": np.arange(12, dtype=np.float32).reshape(3, 4) / 7}


def BAD() -> Model:
    """A shared weight behind a Transpose, as dynamo exports without optimizer write it, and one in a Constant node."""
    return graphs.model(
        """g (float[batch,4] x) => (float[batch,2] y) {
        t = Transpose<perm = [1, 0]>(w)
        h = MatMul(x, t)
        k = Constant<value = float[3,2] {1, 2, 3, 4, 5, 6}>()
        y = MatMul(h, k)
    }""",
        WEIGHTS,
    )


def SOUND() -> Model:
    """The same with initializers; the product of two activations has no weight at all."""
    return graphs.model(
        """g (float[batch,4] x) => (float[batch,batch] y) {
        h = MatMul(x, v)
        k = Transpose<perm = [1, 0]>(h)
        y = MatMul(h, k)
    }""",
        {"v": WEIGHTS["w"].T.copy()},
    )

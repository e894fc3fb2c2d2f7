"""W003: the same matrix twice, as it is and transposed, beside matrices that differ in one number."""

import graphs
import numpy as np

from onnxfix.nouns.model import Model

SITES = ["head", "mask_of_layer_2"]
TABLE = np.random.default_rng(0).normal(size=(60, 20)).astype(np.float32)
MASK = np.triu(np.full((1, 32, 32), -1e4, np.float32), 1)
TEXT = """g (int64[n] ids, float[32,32] scores) => (float[n,60] y, float[1,32,32] z) {
    e = Gather(table, ids)
    y = MatMul(e, head)
    s = Add(scores, mask)
    p = Softmax(s)
    z = Add(p, mask_of_layer_2)
}"""


def BAD() -> Model:
    return graphs.model(TEXT, {"table": TABLE, "head": TABLE.T.copy(), "mask": MASK, "mask_of_layer_2": MASK})


def SOUND() -> Model:
    """One number of each is another; what is read transposed already is stored once."""
    head, mask = TABLE.T.copy(), MASK.copy()
    head[3, 7] += 1e-3
    mask[0, 31, 0] = -0.0
    return graphs.model(TEXT, {"table": TABLE, "head": head, "mask": MASK, "mask_of_layer_2": mask})

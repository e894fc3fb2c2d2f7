"""Small attentions under a mask in ONNX text, and what is read of it."""

from __future__ import annotations

import graphs
import numpy as np

from onnxfix.nouns.model import Model
from onnxfix.surgery.sites.attention.masks import softmax_masks
from onnxfix.surgery.sites.attention.masks.mask import Mask, Refusal

INPUTS = "int64[batch,sequence] input_ids, int64[batch,sequence] attention_mask"
GRAPH = """g (INPUTS) => (y) {
    x = Gather(table, input_ids)
    split = Constant<value_ints = [0, 0, 2, 4]>()
    parts = Reshape(x, split)
    query = Transpose<perm = [0, 2, 1, 3]>(parts)
    key = Transpose<perm = [0, 2, 3, 1]>(parts)
    scores = MatMul(query, key)
    MASK
    weights = Softmax<axis = -1>(masked)
    y = MatMul(weights, query)
}"""
DISTANCE = """
    shape = Shape(input_ids)
    one = Constant<value_int = 1>()
    zero = Constant<value_int = 0>()
    length = Gather(shape, one)
    places = Range(zero, length, one)
    first = Constant<value_ints = [0]>()
    second = Constant<value_ints = [1]>()
    queries = Unsqueeze(places, second)
    keys = Unsqueeze(places, first)
    distance = Sub(queries, keys)
"""
KEPT = """
    around = Constant<value_ints = [1, 2]>()
    bools = Cast<to = 9>(attention_mask)
    kept = Unsqueeze(bools, around)
"""
"""[batch, 1, 1, keys] of bool."""
LOWEST = "lowest = Constant<value_float = -3.4028234663852886e38>()\n nothing = Constant<value_float = 0.0>()\n"
ADDED = LOWEST + "mask = Where(seen, nothing, lowest)\n masked = Add(scores, mask)\n"
"""What `seen` says, in numbers."""
CHOSEN = LOWEST + "masked = Where(seen, scores, lowest)\n"
CAUSAL = DISTANCE + "before = GreaterOrEqual(distance, zero)\n"


def model(mask: str, inputs: str = INPUTS, opset: int = 20, **weights: np.ndarray) -> Model:
    """Two heads of four, which read `masked` as MASK makes it of `scores`."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(16, 8)).astype(np.float32)
    text = GRAPH.replace("INPUTS", inputs).replace("MASK", mask)
    return graphs.model(text, {"table": table, **weights}, opset)


def read(subject: Model) -> Mask | Refusal:
    """What is said of the only Softmax."""
    ((node, found),) = softmax_masks.find(subject)
    assert node.op_type == "Softmax"
    return found


def meaning(mask: str, inputs: str = INPUTS, **weights: np.ndarray) -> Mask:
    found = read(model(mask, inputs, **weights))
    assert isinstance(found, Mask), str(found)
    return found


def refusal(mask: str, inputs: str = INPUTS, **weights: np.ndarray) -> Refusal:
    found = read(model(mask, inputs, **weights))
    assert isinstance(found, Refusal), str(found)
    return found

"""Attention of a few queries to the input, as exporters write it where the module's batch is a Python integer."""

from __future__ import annotations

import graphs
import numpy as np

from onnxfix.nouns.model import Model

HEADS, QUERIES, LENGTH, WIDTH = 4, 6, 9, 16
TEXT = """g (float[batch,9,16] x) => (float[batch,6,16] y) {
    queries = Tile(q, times)
    scaled = Mul(x, rows)
    k = MatMul(scaled, wk)
    ks = Reshape(k, to_keys)
    kt = Transpose<perm = [0, 2, 3, 1]>(ks)
    qs = Reshape(queries, to_queries)
    qt = Transpose<perm = [0, 2, 1, 3]>(qs)
    scores = MatMul(qt, kt)
    probs = Softmax<axis = -1>(scores)
    vs = Transpose<perm = [0, 2, 1, 3]>(ks)
    mixed = MatMul(probs, vs)
    back = Transpose<perm = [0, 2, 1, 3]>(mixed)
    flat = Reshape(back, to_flat)
    out = Gemm(flat, wk)
    y = Reshape(out, to_rows)
}"""


def attention(batch: int) -> Model:
    """Takes this batch alone; with as many heads, no number tells which is which."""
    rng = np.random.default_rng(0)
    size = WIDTH // HEADS
    weights = {
        "q": rng.standard_normal((1, QUERIES, WIDTH)).astype(np.float32),
        "times": np.array([batch, 1, 1]),
        "rows": np.full((batch, 1, 1), 0.5, np.float32) if batch > 1 else np.full((1,), 0.5, np.float32),
        "wk": rng.standard_normal((WIDTH, WIDTH)).astype(np.float32),
        "to_keys": np.array([batch, LENGTH, HEADS, size]),
        "to_queries": np.array([batch, QUERIES, HEADS, size]),
        "to_flat": np.array([batch * QUERIES, WIDTH]),
        "to_rows": np.array([batch, QUERIES, WIDTH]),
    }
    return graphs.model(TEXT, weights)


def BAD() -> Model:
    return attention(4)


def SOUND() -> Model:
    """The same with the size of the input in the place of the numbers."""
    text = TEXT.replace(
        "queries = Tile(q, times)",
        """shape = Shape(x)
    batch_size = Slice(shape, zero, one)
    times = Concat<axis = 0>(batch_size, one, one)
    queries = Tile(q, times)""",
    )
    rng = np.random.default_rng(0)
    size = WIDTH // HEADS
    return graphs.model(
        text,
        {
            "q": rng.standard_normal((1, QUERIES, WIDTH)).astype(np.float32),
            "zero": np.array([0]),
            "one": np.array([1]),
            "rows": np.full((1, 1, 1), 0.5, np.float32),
            "wk": rng.standard_normal((WIDTH, WIDTH)).astype(np.float32),
            "to_keys": np.array([0, LENGTH, HEADS, size]),
            "to_queries": np.array([0, QUERIES, HEADS, size]),
            "to_flat": np.array([-1, WIDTH]),
            "to_rows": np.array([-1, QUERIES, WIDTH]),
        },
    )

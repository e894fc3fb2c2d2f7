"""Blocks cut to fit the rows. Values under CUDA's formula: tests/diagnose/rules/test_embedding_blocks_misread.py."""

import graphs
import numpy as np

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.split_embedding_blocks import SplitEmbeddingBlocks

PASS = SplitEmbeddingBlocks()
RNG = np.random.default_rng(0)
TEXT = """g (int64[n] ids) => (float[n,96] x) {
    x = com.microsoft.GatherBlockQuantized<bits = 8, block_size = %d, gather_axis = 0, quantize_axis = 1>(
        data, ids, scales%s)
}"""
SCALES = RNG.uniform(0.01, 0.05, (50, 3)).astype(np.float32)
DATA = RNG.integers(0, 256, (50, 96)).astype(np.uint8)


def BAD() -> Model:
    weights = {"data": DATA, "scales": SCALES[:, :2]}
    return graphs.model(TEXT % (64, ""), weights)


def SOUND() -> Model:
    weights = {
        "data": DATA,
        "scales": SCALES,
        "zeros": np.full((50, 3), 128, np.uint8),
    }
    return graphs.model(TEXT % (32, ", zeros"), weights)


def test_each_new_block_has_the_scale_of_the_one_it_was_in() -> None:
    source, model = BAD(), BAD()
    graph_pass.run(PASS, model)
    (node,) = model.nodes()
    assert node.attributes["block_size"].as_int() == 32
    old, new, zeros = source.graph.initializers["scales"], node.inputs[2], node.inputs[3]
    assert np.array_equal(new.const_value.numpy(), old.const_value.numpy()[:, [0, 0, 1]])
    assert np.array_equal(zeros.const_value.numpy(), np.full((50, 3), 128))
    assert len(model.graph.initializers) == 3, "what nothing reads any more is gone"

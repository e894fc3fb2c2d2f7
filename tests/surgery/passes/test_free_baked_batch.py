"""A batch that is baked in is freed: the same bits at that batch, the same rows at others."""

import baked_graphs
import graphs
import numpy as np
import pytest
from baked_graphs import attention

from onnxfix.surgery.graph_pass import run
from onnxfix.surgery.passes.free_baked_batch import FreeBakedBatch

PASS = FreeBakedBatch()
BAD, SOUND = baked_graphs.BAD, baked_graphs.SOUND


@pytest.mark.parametrize("batch", [1, 2, 4, 6])
def test_other_batches_give_the_same_rows(batch: int) -> None:
    """Also where as many heads, queries or channels leave it open which number is the batch."""
    source, result = attention(batch), attention(batch)
    assert run(PASS, result).changes
    x = np.random.default_rng(1).standard_normal((batch, 9, 16)).astype(np.float32)
    expected = graphs.run(source, {"x": x})["y"]
    np.testing.assert_array_equal(graphs.run(result, {"x": x})["y"], expected)
    for rows in ([0], [batch - 1, 0, 0], list(range(batch)) * 2):
        np.testing.assert_allclose(graphs.run(result, {"x": x[rows]})["y"], expected[rows], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        # rows that differ: nothing says what those of another batch would be
        ("y = Add(x, w)", {"w": np.arange(4, dtype=np.float32).reshape(4, 1, 1)}),
        # the batch is turned behind the heads, and which of two 4 is which is not known
        ("t = Transpose<perm = [1, 0, 2]>(x) y = Reshape(t, to)", {"to": np.array([4, 3, 8])}),
        ("y = Squeeze(x, first)", {"first": np.array([0])}),
    ],
)
def test_what_is_not_proven_stays(text: str, weights: dict[str, np.ndarray]) -> None:
    model = graphs.model(f"g (float[batch,3,8] x) => (float[batch,3,8] y) {{ {text} }}", weights)
    assert run(PASS, model).changes == ()

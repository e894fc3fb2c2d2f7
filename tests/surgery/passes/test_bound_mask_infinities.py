"""-inf in masks becomes finite: rows that see a key keep their bits, rows that see none are no NaN."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.bound_mask_infinities import BoundMaskInfinities

PASS = BoundMaskInfinities()
TEXT = """g (float[b,4] s, bool[b,4] seen) => (float[b,4] p) { bias = Where(seen, zero, never) m = Add(s, bias)
    p = Softmax <axis = -1> (m) }"""


def masked(never: float) -> Model:
    return graphs.model(TEXT, {"zero": np.array(0, np.float32), "never": np.array(never, np.float32)})


def BAD() -> Model:
    return masked(-np.inf)


def SOUND() -> Model:
    return masked(-1e9)


def test_rows_that_see_a_key_keep_their_bits_and_the_others_are_finite() -> None:
    source, result = BAD(), BAD()
    graph_pass.run(PASS, result)
    seen = np.array([[True, False, True, True], [False] * 4])
    feed = {"s": np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32), "seen": seen}
    before, after = (graphs.run(model, feed)["p"] for model in (source, result))
    assert np.array_equal(before[0], after[0])
    assert np.isnan(before[1]).all() and np.array_equal(after[1], np.full(4, 0.25, np.float32))


def test_what_is_compared_with_is_no_mask() -> None:
    text = "g (float[2] x) => (float[2] y) { z = Max(x, never) y = Add(z, never) }"
    model = graphs.model(text, {"never": np.array(-np.inf, np.float32)})
    assert not graph_pass.run(PASS, model).changes


def test_masks_that_add_up_stay_finite() -> None:
    model = graphs.model(
        """g (float[b,4] s) => (float[b,4] p) {
            m = Add(s, row)
            q = Add(m, row)
            p = Softmax <axis = -1> (q)
        }""",
        {"row": np.array([0, 0, 0, -np.inf], np.float32)},
    )
    assert PASS.measure(model) == 1
    graph_pass.run(PASS, model)
    assert PASS.measure(model) == 0
    made = graphs.run(model, {"s": np.zeros((1, 4), np.float32)})["p"]
    assert np.allclose(made, [[1 / 3, 1 / 3, 1 / 3, 0]])


@pytest.mark.parametrize("asking", ["bad = IsNaN(p) y = Where(bad, zero, p)", "best = ReduceMax(m) y = Add(p, best)"])
def test_a_mask_whose_infinity_is_asked_for_stays(asking: str) -> None:
    """Zeros of a row that sees nothing are an answer, where the guard that makes them is there."""
    text = TEXT.replace("(float[b,4] p)", "(float[b,4] y)").replace("(m) }", "(m) " + asking + " }")
    model = graphs.model(text, {"zero": np.array(0, np.float32), "never": np.array(-np.inf, np.float32)})
    assert PASS.measure(model) == 0 and not graph_pass.run(PASS, model).changes

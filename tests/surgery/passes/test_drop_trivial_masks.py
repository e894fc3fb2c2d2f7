"""A mask that hides nothing goes, and a triangle becomes an attribute; what hides anything else stays."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.drop_trivial_masks import DropTrivialMasks

PASS = DropTrivialMasks()
ONE = """scores = Concat<axis = 0>(ones, ones, length, length) zero = Constant<value_float = 0.0>()
    mask = Expand(zero, scores)"""
TRIANGLE = """start = Constant<value_int = 0>() step = Constant<value_int = 1>() count = Squeeze(length)
    place = Range(start, count, step) down = Unsqueeze(place, ones) ahead = Less(down, place)
    zero = Constant<value_float = 0.0>() low = Constant<value_float = -10000.0>() square = Where(ahead, low, zero)
    axes = Constant<value_ints = [0, 1]>() mask = Unsqueeze(square, axes)"""
PADDING = """real = Cast<to = 1>(shown) one = Constant<value_float = 1.0>() hidden = Sub(real, one)
    far = Constant<value_float = 10000.0>() row = Mul(hidden, far) axes = Constant<value_ints = [1, 2]>()
    wide = Unsqueeze(row, axes) four = Concat<axis = 0>(ones, ones, length, ones) mask = Expand(wide, four)"""


def attention(mask: str, keys: str = "x", given: str = "shown") -> Model:
    other = "" if keys == "x" else f", float[batch,others,16] {keys}"
    return graphs.model(
        f"""g (float[batch,sequence,16] x{other}, int64[batch,sequence] {given}) => (float[batch,sequence,16] y) {{
        ones = Constant<value_ints = [1]>() length = Shape<start = 1, end = 2>(x) {mask}
        y = Attention<q_num_heads = 2, kv_num_heads = 2, scale = 0.3>(x, {keys}, {keys}, mask) }}""", opset=23,
    )  # fmt: skip


def BAD() -> Model:
    return attention(TRIANGLE)


def SOUND() -> Model:
    return attention(PADDING)


@pytest.mark.parametrize("mask", [ONE, TRIANGLE], ids=["nothing", "what is ahead"])
def test_the_same_without_a_mask(mask: str) -> None:
    before, after = attention(mask), attention(mask)
    assert PASS.measure(after) == 1
    graph_pass.run(PASS, after)
    assert PASS.measure(after) == 0 and graphs.op_types(after)[-1] == "Attention"
    node = next(node for node in after.graph if node.op_type == "Attention")
    assert ("is_causal" in node.attributes) == (mask is TRIANGLE) and node.inputs[3] is None
    for length in (1, 5, 12):
        x = np.random.default_rng(length).normal(0, 1, (2, length, 16)).astype(np.float32)
        feed = {"x": x, "shown": np.ones((2, length), np.int64)}
        assert np.allclose(graphs.run(before, feed)["y"], graphs.run(after, feed)["y"], atol=1e-6)


def test_padding_stays() -> None:
    assert PASS.measure(SOUND()) == 0


def test_a_triangle_over_keys_of_another_sequence_stays() -> None:
    """The operator's triangle begins at the first key, and nothing says that both are as long."""
    wide = TRIANGLE.replace("down = Unsqueeze(place, ones)", """down = Unsqueeze(place, ones)
        keys = Shape<start = 1, end = 2>(z) behind = Squeeze(keys) across = Range(start, behind, step)""")  # fmt: skip
    assert PASS.measure(attention(wide.replace("Less(down, place)", "Less(down, across)"), "z")) == 0


def test_what_is_ahead_by_numbers_of_the_caller_stays() -> None:
    """They may begin anew at a second text of a row."""
    numbers = TRIANGLE.replace(
        "ahead = Less(down, place)",
        """across = Unsqueeze(position_ids, ones)
        two = Constant<value_ints = [2]>() behind = Unsqueeze(position_ids, two) ahead = Less(behind, across)""",
    )
    numbers = numbers.replace("axes = Constant<value_ints = [0, 1]>() mask = Unsqueeze(square, axes)",
                              "mask = Unsqueeze(square, ones)")  # fmt: skip
    assert PASS.measure(attention(numbers, given="position_ids")) == 0

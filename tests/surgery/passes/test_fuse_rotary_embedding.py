"""Rotary products of both exporters become one operator, and answer as before at every position and in every row."""

import graphs
import numpy as np
import pytest

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.fuse_rotary_embedding import FuseRotaryEmbedding
from onnxfix.surgery.sites.attention import rotary_products

PASS = FuseRotaryEmbedding()
ANGLES = """
    axes = Constant<value_ints = [1]>()
    angle = Mul(position, frequencies)
    both = Concat<axis = -1>(angle, angle)
    c = Cos(both)
    scaled = Mul(c, scale)
    cosine = Unsqueeze(scaled, axes)
    s = Sin(both)
    sine = Unsqueeze(s, axes)
    heads = Reshape(x, split)
    q = Transpose<perm = [0, 2, 1, 3]>(heads)
"""
SLICES = """
    low = Slice(q, zero, four, last, one)
    high = Slice(q, four, end, last, one)
"""
SPLIT = "low, high = Split<axis = -1>(q, halves)\n"
TRACED = """
    shape = Shape(q)
    size = Gather<axis = 0>(shape, three)
    half = Div(size, two)
    middle = Unsqueeze(half, zero)
    again = Unsqueeze(half, zero)
    low = Slice(q, zero, again, last, one)
    high = Slice(q, middle, end, last, one)
"""
TURN = """
    minus = Neg(high)
    turned = Concat<axis = -1>(minus, low)
    a = Mul(q, cosine)
    b = Mul(turned, sine)
    r = Add(a, b)
    y = Mul(r, r)
}"""
NUMBERS = {"zero": [0], "one": [1], "four": [4], "last": [3], "end": [2**63 - 1], "halves": [4, 4]}
WEIGHTS = {
    "frequencies": np.array([1.0, 0.3, 0.1, 0.03], np.float32),
    "scale": np.array(1.25, np.float32),
    "split": np.array([0, 0, 3, 8]),
    "three": np.array(3),
    "two": np.array(2),
    **{name: np.array(numbers) for name, numbers in NUMBERS.items()},
}
HEAD = "g (float[batch,sequence,24] x, float[rows,sequence,1] position) => (float[batch,3,sequence,8] y) {"


def made(halves: str = SLICES, turn: str = TURN, angles: str = ANGLES, opset: int = 20) -> Model:
    used = {name: array for name, array in WEIGHTS.items() if name in f"{angles}{halves}{turn}"}
    return graphs.model(HEAD + angles + halves + turn, used, opset=opset)


def BAD() -> Model:
    """Positions are those of one row, computed from the length as exporters do, so that any batch can be fed."""
    text = """g (float[batch,sequence,24] x) => (float[batch,3,sequence,8] y) {
        length = Shape<start = 1, end = 2>(x)
        n = Squeeze(length)
        i = Constant<value_int = 0>()
        k = Constant<value_int = 1>()
        numbers = Range(i, n, k)
        real = Cast<to = 1>(numbers)
        around = Constant<value_ints = [0, 2]>()
        position = Unsqueeze(real, around)
    """
    used = {name: array for name, array in WEIGHTS.items() if name in f"{ANGLES}{SLICES}{TURN}"}
    return graphs.model(text + ANGLES + SLICES + TURN, used)


def SOUND() -> Model:
    """The halves the other way round: this is no rotation, however much it looks like one."""
    return made(turn=TURN.replace("Concat<axis = -1>(minus, low)", "Concat<axis = -1>(low, minus)"))


def feed(rows: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    positions = generator.permutation(rows * 7).reshape(rows, 7, 1).astype(np.float32)
    return {"x": generator.normal(size=(2, 7, 24)).astype(np.float32), "position": positions}


@pytest.mark.parametrize("opset", [17, 18, 20])
@pytest.mark.parametrize("halves", [SLICES, SPLIT, TRACED])
@pytest.mark.parametrize("rows", [1, 2], ids=["one row of positions", "a row each"])
def test_the_answer_is_the_same(halves: str, rows: int, opset: int) -> None:
    source, fused = made(halves, opset=opset), made(halves, opset=opset)
    graph_pass.run(PASS, fused)
    ops = graphs.op_types(fused)
    assert ops.count("RotaryEmbedding") == 1 and not {"Neg", "Add", "Slice"} & set(ops)
    for level in ("none", "all"):
        expected = graphs.run(source, feed(rows), level)["y"]
        np.testing.assert_allclose(graphs.run(fused, feed(rows), level)["y"], expected, rtol=1e-5, atol=1e-6)


def test_queries_and_keys_share_their_tables() -> None:
    twice = ANGLES + SLICES + TURN.replace("y = Mul(r, r)\n}", "")
    keys = """
        k = Transpose<perm = [0, 2, 1, 3]>(heads)
        klow = Slice(k, zero, four, last, one)
        khigh = Slice(k, four, end, last, one)
        kminus = Neg(khigh)
        kturned = Concat<axis = -1>(kminus, klow)
        ka = Mul(kturned, sine)
        kb = Mul(cosine, k)
        kr = Add(ka, kb)
        y = Mul(r, kr)
    }"""
    source, fused = made(twice, keys, ""), made(twice, keys, "")
    graph_pass.run(PASS, fused)
    ops = graphs.op_types(fused)
    assert (ops.count("RotaryEmbedding"), ops.count("Flatten"), ops.count("Range")) == (2, 2, 1)
    expected = graphs.run(source, feed(2))["y"]
    np.testing.assert_allclose(graphs.run(fused, feed(2))["y"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Slice(q, four, end, last, one)", "Slice(q, zero, four, last, one)"),
        ("Slice(q, zero, four, last, one)", "Slice(q, four, end, last, one)"),
        ("Concat<axis = -1>(angle, angle)", "Concat<axis = -1>(angle, other)"),
        ("a = Mul(q, cosine)", "a = Mul(q, sine)"),
        ("minus = Neg(high)", "minus = Abs(high)"),
        ("q = Transpose<perm = [0, 2, 1, 3]>(heads)", "q0 = Transpose<perm = [0, 2, 1, 3]>(heads)\n q = Relu(q0)"),
    ],
)
def test_what_only_looks_like_a_rotation_is_left_alone(old: str, new: str) -> None:
    text = (ANGLES + SLICES + TURN).replace(old, new)
    assert old not in text
    model = made(text.replace("both =", "other = Neg(angle)\n both ="), "", "")
    before = model.fingerprint()
    assert not graph_pass.run(PASS, model).changes
    assert model.fingerprint() == before


def test_a_middle_that_is_not_the_middle_is_none() -> None:
    quarter = {**WEIGHTS, "four": np.array([2])}
    used = {name: array for name, array in quarter.items() if name in f"{ANGLES}{SLICES}{TURN}"}
    model = graphs.model(HEAD + ANGLES + SLICES + TURN, used)
    assert list(rotary_products.find(model)) == []

"""Rotary products of both exporters become one operator, and answer as before at every position and in every row."""

import graphs
import numpy as np
import pytest
from twins import TWINS, twin

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.fuse_rotary_embedding import FuseRotaryEmbedding
from onnxfix.surgery.sites.attention import rotary_products
from onnxfix.surgery.sites.attention.refusal import Refusal

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
    turned = [node for node in fused.graph if node.op_type == "RotaryEmbedding"]
    assert len(turned) == 2 and len({tuple(node.inputs[2:4]) for node in turned}) == 1
    assert graphs.op_types(fused).count("Range") == 1
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
    ],
)
def test_what_only_looks_like_a_rotation_is_left_alone(old: str, new: str) -> None:
    text = (ANGLES + SLICES + TURN).replace(old, new)
    assert old not in text
    model = made(text.replace("both =", "other = Neg(angle)\n both ="), "", "")
    before = model.fingerprint()
    assert not graph_pass.run(PASS, model).changes
    assert model.fingerprint() == before


def same(text: str, opset: int = 20, weights: dict[str, np.ndarray] = WEIGHTS, **more: np.ndarray) -> Model:
    """The pass's result on a graph, after it was seen to have one rotation and the same answer."""
    used = {name: array for name, array in (weights | more).items() if name in text}
    source, fused = (graphs.model(HEAD + text, used, opset=opset) for _ in range(2))
    graph_pass.run(PASS, fused)
    assert graphs.op_types(fused).count("RotaryEmbedding") == 1
    for rows in (1, 2):
        expected = graphs.run(source, feed(rows))["y"]
        np.testing.assert_allclose(graphs.run(fused, feed(rows))["y"], expected, rtol=1e-5, atol=1e-6)
    return fused


def attributes(model: Model) -> tuple[int, int, int]:
    (node,) = [node for node in model.graph if node.op_type == "RotaryEmbedding"]
    found = [node.attributes[name].as_int() if name in node.attributes else 0
             for name in ("num_heads", "interleaved", "rotary_embedding_dim")]  # fmt: skip
    return found[0], found[1], found[2]


def test_the_number_of_heads_is_written() -> None:
    """OpenVINO refuses the operator without."""
    assert attributes(same(ANGLES + SLICES + TURN)) == (3, 0, 0)


def test_what_is_no_transpose_of_heads_is_turned_round() -> None:
    text = ANGLES.replace("q = Transpose<perm = [0, 2, 1, 3]>(heads)",
                          "q0 = Transpose<perm = [0, 2, 1, 3]>(heads)\n q = Relu(q0)")  # fmt: skip
    assert attributes(same(text + SLICES + TURN)) == (3, 0, 0)


@pytest.mark.parametrize("names", TWINS)
def test_names_of_nodes_are_nothing(names: str) -> None:
    assert len(list(rotary_products.find(twin(made(), TWINS[names])))) == 1


def test_angles_that_do_not_go_by_position_are_refused() -> None:
    """One row of angles for all tokens: there is no position to look up."""
    text = (
        (ANGLES + SLICES + TURN)
        .replace("Mul(position, frequencies)", "Mul(scale, frequencies)")
        .replace("axes = Constant<value_ints = [1]>()", "axes = Constant<value_ints = [0, 1, 2]>()")
    )
    model = made(text, "", "")
    (found,) = rotary_products.sites(model)
    assert isinstance(found, Refusal) and "by position" in found.reason
    assert found.reason in graph_pass.run(PASS, model).notes[0]


NEIGHBOURS = ANGLES.replace(
    "both = Concat<axis = -1>(angle, angle)",
    """last1 = Constant<value_ints = [-1]>()
    lone = Unsqueeze(angle, last1)
    pair = Concat<axis = -1>(lone, lone)
    flat = Constant<value_ints = [0, 0, 8]>()
    both = Reshape(pair, flat)""",
)
STACK = """
    even = Slice(q, zero, end, last, two1)
    odd = Slice(q, one, end, last, two1)
    minus = Neg(odd)
    a1 = Unsqueeze(minus, last1)
    b1 = Unsqueeze(even, last1)
    stacked = Concat<axis = -1>(a1, b1)
    shape = Shape(q)
    turned = Reshape(stacked, shape)
    a = Mul(q, cosine)
    b = Mul(turned, sine)
    r = Add(a, b)
    y = Mul(r, r)
}"""
TWO1 = {"two1": np.array([2])}


def test_neighbours_in_pairs() -> None:
    assert attributes(same(NEIGHBOURS + STACK, **TWO1)) == (3, 1, 0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("minus = Neg(odd)", "minus = Identity(odd)"),
        ("Concat<axis = -1>(a1, b1)", "Concat<axis = -1>(b1, a1)"),
        ("pair = Concat<axis = -1>(lone, lone)", "more = Neg(lone)\n pair = Concat<axis = -1>(lone, more)"),
        ("both = Reshape(pair, flat)", "both = Concat<axis = -1>(angle, angle)"),
    ],
)
def test_neighbours_that_are_no_pairs(old: str, new: str) -> None:
    """The last ones: tables for halves that are apart, and sines of angles of which every second is negative, whose
    cosines do not show it."""
    text = NEIGHBOURS + STACK
    assert old in text
    used = {name: array for name, array in (WEIGHTS | TWO1).items() if name in text}
    model = graphs.model(HEAD + text.replace(old, new), used)
    assert not graph_pass.run(PASS, model).changes


TABLES = ANGLES.replace("both = Concat<axis = -1>(angle, angle)", "both = Identity(angle)")
TWO_SUMS = """
    a = Mul(low, cosine)
    b = Mul(high, sine)
    first = Sub(a, b)
    c1 = Mul(high, cosine)
    d1 = Mul(low, sine)
    second = Add(c1, d1)
    r = Concat<axis = -1>(first, second)
    y = Mul(r, r)
}"""


@pytest.mark.parametrize("halves", [SLICES, SPLIT])
def test_two_sums_of_halves(halves: str) -> None:
    assert attributes(same(TABLES + halves + TWO_SUMS)) == (3, 0, 0)


def test_two_sums_of_the_wrong_halves() -> None:
    text = TABLES + SLICES + TWO_SUMS.replace("Concat<axis = -1>(first, second)", "Concat<axis = -1>(second, first)")
    used = {name: array for name, array in WEIGHTS.items() if name in text}
    assert not graph_pass.run(PASS, graphs.model(HEAD + text, used)).changes


def test_the_other_way_round() -> None:
    """By minus the angle: the table of sines is negated once."""
    text = TABLES + SLICES + TWO_SUMS.replace("Sub(a, b)", "Add(a, b)").replace("second = Add(c1, d1)",
                                                                                "second = Sub(c1, d1)")  # fmt: skip
    assert "Neg" in graphs.op_types(same(text))


def test_a_sign_in_the_table() -> None:
    text = ANGLES.replace("sine = Unsqueeze(s, axes)", """s1, s2 = Split<axis = -1>(s, halves)
    ms = Neg(s1)
    signed = Concat<axis = -1>(ms, s2)
    sine = Unsqueeze(signed, axes)""") + SLICES  # fmt: skip
    text += TURN.replace("minus = Neg(high)", "minus = Identity(high)")
    assert attributes(same(text)) == (3, 0, 0)


def partial(kept: str) -> str:
    angles = ANGLES.replace("q = Transpose", "whole = Transpose")
    return angles + f"""
    q = Slice(whole, zero, four, last, one)
    rest = Slice(whole, {kept}, end, last, one)
    low, high = Split<axis = -1>(q, twos)
""" + TURN.replace("r = Add(a, b)", "part = Add(a, b)\n r = Concat<axis = -1>(part, rest)")  # fmt: skip


PARTIAL = {"frequencies": np.array([1.0, 0.3], np.float32), "twos": np.array([2, 2])}


def test_the_first_features_of_a_head() -> None:
    assert attributes(same(partial("four"), **PARTIAL)) == (3, 0, 4)


def test_features_that_are_kept_and_moved_are_not_part_of_it() -> None:
    """The rest is taken from elsewhere: only the first four are turned, by an operator of their own."""
    text = partial("four").replace("rest = Slice(whole,", "back = Neg(whole)\n rest = Slice(back,")
    assert attributes(same(text, **PARTIAL)) == (3, 0, 0)


def test_before_the_heads_are_transposed() -> None:
    text = ANGLES.replace("axes = Constant<value_ints = [1]>()", "axes = Constant<value_ints = [2]>()").replace(
        "q = Transpose<perm = [0, 2, 1, 3]>(heads)", "q = Identity(heads)"
    )
    turn = TURN.replace("y = Mul(r, r)", "t = Transpose<perm = [0, 2, 1, 3]>(r)\n y = Mul(t, t)")
    assert graphs.op_types(same(text + SLICES + turn)).count("Transpose") == 1


def test_queries_and_keys_in_one() -> None:
    text = ANGLES.replace("axes = Constant<value_ints = [1]>()", "axes = Constant<value_ints = [1, 2]>()").replace(
        "q = Transpose<perm = [0, 2, 1, 3]>(heads)",
        """q1 = Transpose<perm = [0, 2, 1, 3]>(heads)
    k1 = Relu(q1)
    around = Constant<value_ints = [1]>()
    q2 = Unsqueeze(q1, around)
    k2 = Unsqueeze(k1, around)
    q = Concat<axis = 1>(q2, k2)""",
    )
    slices = SLICES.replace("last, one", "four4, one")
    turn = TURN.replace("y = Mul(r, r)", "parts = Constant<value_ints = [1]>()\n y = ReduceSum<keepdims = 0>(r, parts)")
    assert attributes(same(text + slices + turn, four4=np.array([4]))) == (6, 0, 0)


def test_a_factor_in_front_goes_behind() -> None:
    text = ANGLES.replace("q = Transpose<perm = [0, 2, 1, 3]>(heads)",
                          "q0 = Transpose<perm = [0, 2, 1, 3]>(heads)\n q = Mul(q0, scale)")  # fmt: skip
    ops = graphs.op_types(same(text + SLICES + TURN))
    assert ops.count("Transpose") == 1


@pytest.mark.parametrize("equal", [True, False])
def test_tables_that_are_weights(equal: bool) -> None:
    """Looked up by positions nobody knows: whether two columns are one is told by the table."""
    angles = np.arange(20)[:, None] * np.array([1.0, 0.3, 0.1, 0.03])
    table = np.concatenate([angles, angles if equal else angles + 0.1], axis=1)
    text = """
    i = Cast<to = 7>(position)
    last1 = Constant<value_ints = [-1]>()
    at = Squeeze(i, last1)
    axes = Constant<value_ints = [1]>()
    c = Gather(cosines, at)
    s = Gather(sines, at)
    cosine = Unsqueeze(c, axes)
    sine = Unsqueeze(s, axes)
    heads = Reshape(x, split)
    q = Transpose<perm = [0, 2, 1, 3]>(heads)
""" + SLICES + TURN  # fmt: skip
    tables = {"cosines": np.cos(table).astype(np.float32), "sines": np.sin(table).astype(np.float32)}
    if equal:
        same(text, **tables)
        return
    used = {name: array for name, array in (WEIGHTS | tables).items() if name in text}
    assert not graph_pass.run(PASS, graphs.model(HEAD + text, used)).changes


def test_a_middle_that_is_not_the_middle_is_none() -> None:
    quarter = {**WEIGHTS, "four": np.array([2])}
    used = {name: array for name, array in quarter.items() if name in f"{ANGLES}{SLICES}{TURN}"}
    model = graphs.model(HEAD + ANGLES + SLICES + TURN, used)
    assert list(rotary_products.find(model)) == []

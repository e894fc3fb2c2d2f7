"""Attention of both exporters becomes one operator, with the same answer wherever there is a key to see."""

import graphs
import numpy as np
import onnx_ir as ir
import pytest

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.fuse_attention import FuseAttention

PASS = FuseAttention()
HEAD = """g (float[batch,sequence,24] x, int64[batch,sequence] attention_mask) => (float[batch,sequence,24] y) {
    qh = Reshape(x, split)
    r = Tanh(x)
    kh = Reshape(r, split)
    v0 = Neg(x)
    vh = Reshape(v0, split)
    q = Transpose<perm = [0, 2, 1, 3]>(qh)
    k = Transpose<perm = [0, 2, 1, 3]>(kh)
    v = Transpose<perm = [0, 2, 1, 3]>(vh)
    seen = Cast<to = 9>(attention_mask)
    around = Constant<value_ints = [1, 2]>()
    wide = Unsqueeze(seen, around)
    mask = Where(wide, zero, lowest)
"""
TRANSPOSED = "kt = Transpose<perm = [0, 1, 3, 2]>(k)\n"
AT_ONCE = "kt = Transpose<perm = [0, 2, 3, 1]>(kh)\n"
FOLDED = """
    size = Shape(k)
    inner = Slice(size, minus2, minus1)
    outer = Slice(size, minus1, end)
    front = Slice(size, start, minus2)
    three = Concat<axis = 0>(minus1, inner, outer)
    flat = Reshape(k, three)
    turned = Transpose<perm = [0, 2, 1]>(flat)
    four = Concat<axis = 0>(front, outer, inner)
    kt = Reshape(turned, four)
"""
SCORES = """
    qs = Mul(q, root)
    ks = Mul(kt, root)
    s = MatMul(qs, ks)
    masked = Add(s, mask)
    p = Softmax<axis = -1>(masked)
"""
GUARD = "bad = IsNaN(p)\n w = Where(bad, zero, p)\n"
NO_GUARD = ""  # the product reads the weights themselves
TAIL = """
    o = MatMul(w, v)
    t = Transpose<perm = [0, 2, 1, 3]>(o)
    flatten = Constant<value_ints = [0, 0, 24]>()
    joined = Reshape(t, flatten)
    y = MatMul(joined, out)
}"""
RESHAPED = TAIL.replace(
    "t = Transpose<perm = [0, 2, 1, 3]>(o)",
    """so = Shape(o)
    b = Gather<axis = 0>(so, i0)
    b1 = Unsqueeze(b, n0)
    sq = Shape(q)
    n = Gather<axis = 0>(sq, i2)
    n1 = Unsqueeze(n, n0)
    sv = Shape(v)
    d = Gather<axis = 0>(sv, i3)
    d1 = Unsqueeze(d, n0)
    same = Concat<axis = 0>(b1, minus1, n1, d1)
    o4 = Reshape(o, same)
    t = Transpose<perm = [0, 2, 1, 3]>(o4)""",
)
WEIGHTS = {
    "split": np.array([0, 0, 3, 8]),
    "zero": np.array(0.0, np.float32),
    "lowest": np.array(-np.inf, np.float32),
    "root": np.array(0.7, np.float32),
    "minus1": np.array([-1]),
    "minus2": np.array([-2]),
    "start": np.array([0]),
    "end": np.array([2**63 - 1]),
    "i0": np.array(0),
    "i2": np.array(2),
    "i3": np.array(-1),
    "n0": np.array([0]),
    "out": np.random.default_rng(2).normal(size=(24, 24)).astype(np.float32),
}


def made(text: str, opset: int = 20) -> Model:
    text = HEAD + (text if GUARD in text or "w = " in text else text.replace("MatMul(w, v)", "MatMul(p, v)"))
    return graphs.model(text, {name: array for name, array in WEIGHTS.items() if name in text}, opset)


def BAD() -> Model:
    return made(TRANSPOSED + SCORES + GUARD + TAIL)


def SOUND() -> Model:
    """Queries in place of keys in the wrong layout: no product of queries and keys of heads."""
    return made("kt = Relu(k)\n" + SCORES.replace("MatMul(qs, ks)", "Mul(qs, ks)") + NO_GUARD + TAIL)


def feed(rows: int = 3, tokens: int = 9) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    mask = np.ones((rows, tokens), np.int64)
    mask[1, 5:] = 0
    return {"x": generator.normal(size=(rows, tokens, 24)).astype(np.float32), "attention_mask": mask}


@pytest.mark.parametrize("opset", [18, 20, 23])
@pytest.mark.parametrize("tail", [TAIL, RESHAPED], ids=["dynamo", "torchscript"])
@pytest.mark.parametrize("guard", [GUARD, NO_GUARD], ids=["guarded", "unguarded"])
@pytest.mark.parametrize("keys", [TRANSPOSED, AT_ONCE, FOLDED], ids=["transposed", "at once", "folded"])
def test_the_answer_is_the_same(keys: str, guard: str, tail: str, opset: int) -> None:
    source, fused = (made(keys + SCORES + guard + tail, opset) for _ in range(2))
    graph_pass.run(PASS, fused)
    ops = graphs.op_types(fused)
    wanted = "Attention" if opset >= 23 else "MultiHeadAttention"
    assert ops.count(wanted) == 1 and not {"Softmax", "IsNaN"} & set(ops)
    assert ops.count("Transpose") == (keys == AT_ONCE), "one that nothing read before either"
    for level in ("none", "all"):
        expected = graphs.run(source, feed(), level)["y"]
        np.testing.assert_allclose(graphs.run(fused, feed(), level)["y"], expected, rtol=2e-5, atol=2e-6)


def test_without_a_mask() -> None:
    scores = SCORES.replace("    masked = Add(s, mask)\n", "").replace("(masked)", "(s)")
    text = TRANSPOSED + scores + NO_GUARD + TAIL
    source, fused = made(text), made(text)
    graph_pass.run(PASS, fused)
    assert "MultiHeadAttention" in graphs.op_types(fused)
    np.testing.assert_allclose(
        graphs.run(fused, feed())["y"], graphs.run(source, feed())["y"], rtol=2e-5, atol=2e-6
    )  # fmt: skip


def test_a_row_without_a_key_is_a_number_and_disturbs_no_other() -> None:
    source, fused = BAD(), BAD()
    graph_pass.run(PASS, fused)
    given = feed()
    given["attention_mask"][2] = 0
    expected, answer = graphs.run(source, given)["y"], graphs.run(fused, given)["y"]
    assert np.isfinite(answer).all() and not expected[2].any()
    np.testing.assert_allclose(answer[:2], expected[:2], rtol=2e-5, atol=2e-6)


ROW = "y = ReduceMean<keepdims = 0>(every, axis)\n"
WEIGHED = "real = Cast<to = 1>(attention_mask) apart = Unsqueeze(real, minus1) none = Mul(every, apart)\n"


FIRST = "left = Constant<value_int = 0>() y = Gather<axis = 1>(every, left)\n"


@pytest.mark.parametrize(
    ("pooled", "guard", "packed", "zeros"),
    [
        (ROW, GUARD, True, True),
        (ROW, NO_GUARD, True, False),
        (WEIGHED + ROW.replace("every", "none"), GUARD, False, False),
        (FIRST, GUARD, False, True),
        (FIRST, GUARD, True, False),
    ],
    ids=["a mean of all tokens", "no zeros", "of real tokens", "the first token", "the first token, which is real"],
)
@pytest.mark.parametrize("opset", [17, 18, 23])
@pytest.mark.parametrize("heads", ["alike", "apart"])
def test_zeros_of_a_row_that_sees_nothing_stay_where_they_may_be_read(
    pooled: str, guard: str, packed: bool, zeros: bool, opset: int, heads: str
) -> None:
    every = f"every = MatMul(joined, out) axis = Constant<value_ints = [1]>() {pooled}}}"
    head = HEAD.replace("(float[batch,sequence,24] y)", "(float[batch,24] y)")
    if heads == "apart":  # a bias of each head
        head = head.replace("mask = Where(", "mask0 = Where(") + "mask = Add(mask0, slopes)\n"
    text = (
        head + TRANSPOSED + SCORES + (guard or "w = Identity(p)\n") + TAIL.replace("y = MatMul(joined, out)\n}", every)
    )
    text = text if opset > 17 else text.replace("<keepdims = 0>(every, axis)", "<keepdims = 0, axes = [1]>(every)")
    text = text if opset > 17 else text.replace("<keepdims = 0>(none, axis)", "<keepdims = 0, axes = [1]>(none)")
    arrays = WEIGHTS | {"slopes": np.array([0.1, 0.2, 0.3], np.float32).reshape(1, 3, 1, 1)}
    arrays = {name: array for name, array in arrays.items() if name in text}
    source, result = (graphs.model(text, arrays, opset) for _ in range(2))
    report = graph_pass.run(FuseAttention(packed), result)
    assert {"Attention", "MultiHeadAttention"} & set(graphs.op_types(result))
    assert any("1 with zeros where a row sees nothing" in note for note in report.notes) == zeros
    assert ("ReduceMax" in graphs.op_types(result)) == zeros
    given = feed()
    if zeros or "none" in pooled:
        given["attention_mask"][2] = 0
    np.testing.assert_allclose(
        graphs.run(result, given)["y"], graphs.run(source, given)["y"], rtol=2e-5, atol=2e-6
    )  # fmt: skip


def test_queries_that_a_mask_hides_are_zeros() -> None:
    """They are padding, and the mask says nothing of keys: what reads them as keys gets zeros as before."""
    text = (HEAD + TRANSPOSED + SCORES + GUARD + TAIL).replace("value_ints = [1, 2]", "value_ints = [1, 3]")
    source, result = (graphs.model(text, {n: a for n, a in WEIGHTS.items() if n in text}, 20) for _ in range(2))
    graph_pass.run(FuseAttention(packed=True), result)
    assert "MultiHeadAttention" in graphs.op_types(result)
    answers = [graphs.run(model, feed())["y"] for model in (source, result)]
    assert not answers[0][1, 5:].any()
    np.testing.assert_allclose(answers[1], answers[0], rtol=2e-5, atol=2e-6)


HIDDEN = """
    odd = Cast<to = 9>(kinds) others = Unsqueeze(odd, around) none = Not(wide)
    qs = Mul(q, root) ks = Mul(kt, root) s = MatMul(qs, ks)
    s1 = Where(others, low1, s) s2 = Where(none, low2, s1) p = Softmax<axis = -1>(s2)
"""
BY_MASK = "w = Where(none, zero, p)\n"


@pytest.mark.parametrize(
    ("first", "second", "guard", "fused"),
    [
        (-1e9, -1e9, BY_MASK, False),
        (-1e9, -1e30, BY_MASK, False),
        (-1e30, -1e9, "", False),
        (-1e9, -1e9, "", True),
        (-np.inf, -np.inf, BY_MASK, True),
        (-np.inf, -np.inf, GUARD, True),
        (-np.inf, -3e38, "", False),
        (-3e38, -np.inf, GUARD, False),
    ],
)
def test_rows_that_two_masks_hide_together(first: float, second: float, guard: str, fused: bool) -> None:
    """The mean of what the higher number hides, and of nothing where that is zeroed: no feed of padding shows it."""
    head = HEAD.replace("attention_mask)", "attention_mask, int64[batch,sequence] kinds)", 1)
    text = head + TRANSPOSED + HIDDEN + (guard or "w = Identity(p)\n") + TAIL
    arrays = WEIGHTS | {"low1": np.array(first, np.float32), "low2": np.array(second, np.float32)}
    source, result = (graphs.model(text, {n: a for n, a in arrays.items() if n in text}, 20) for _ in range(2))
    graph_pass.run(PASS, result)
    assert ("MultiHeadAttention" in graphs.op_types(result)) == fused
    kinds = np.zeros((3, 9), np.int64)
    kinds[1, :5] = kinds[0, ::2] = 1
    answers = [graphs.run(model, feed() | {"kinds": kinds})["y"] for model in (source, result)]
    sound = np.isfinite(answers[0])
    assert sound.all() or (guard == BY_MASK and np.isinf(first)), "it zeroes no NaN of keys that the other hides"
    np.testing.assert_allclose(answers[1][sound], answers[0][sound], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("mask", ["bool[batch,1,sequence,sequence]", "float[batch,1,sequence,sequence]"])
@pytest.mark.parametrize("lowest", [-np.inf, np.finfo(np.float32).min])
def test_what_the_caller_hides_of_each_query(mask: str, lowest: float) -> None:
    """Zeros where the source has them, and a mean where it hides by a number; whoever reads them."""
    head = HEAD.replace("int64[batch,sequence] attention_mask", f"{mask} given")
    start, end = head.index("    seen = Cast"), head.index("    mask = Where")
    made_of = "mask = Where(given, zero, lowest)\n" if "bool" in mask else "mask = Identity(given)\n"
    text = head[:start] + made_of + TRANSPOSED + SCORES + GUARD + TAIL
    assert end > start
    arrays = {n: a for n, a in WEIGHTS.items() if n in text} | (
        {"lowest": np.array(lowest, np.float32)} if "bool" in mask else {}
    )
    source, result = (graphs.model(text, arrays, 20) for _ in range(2))
    graph_pass.run(PASS, result)
    assert "MultiHeadAttention" in graphs.op_types(result)
    seen = np.random.default_rng(4).random((3, 1, 9, 9)) < 0.4
    seen[1, 0, 3:5] = False
    given = seen if "bool" in mask else np.where(seen, 0, lowest).astype(np.float32)
    answers = [graphs.run(model, {"x": feed()["x"], "given": given})["y"] for model in (source, result)]
    assert np.isfinite(answers[0]).all() and (not answers[0][1, 3].any()) == np.isinf(lowest)
    np.testing.assert_allclose(answers[1], answers[0], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("p = Softmax<axis = -1>(masked)", "p = Softmax<axis = 1>(masked)"),
        ("y = MatMul(joined, out)", "y0 = MatMul(joined, out)\n more = ReduceMax<keepdims = 0>(p)\n y = Add(y0, more)"),
        ("w = Where(bad, zero, p)", "w = Where(bad, root, p)"),
        ("perm = [0, 1, 3, 2]", "perm = [0, 1, 2, 3]"),
    ],
)
def test_what_is_read_elsewhere_or_is_no_attention_stays(old: str, new: str) -> None:
    text = (TRANSPOSED + SCORES + GUARD + TAIL).replace(old, new)
    assert old not in text
    model = made(text)
    before = model.fingerprint()
    assert not graph_pass.run(PASS, model).changes
    assert model.fingerprint() == before


def test_keys_with_fewer_heads_stay() -> None:
    """Declared with one head, and computed with three: one of the two is wrong."""
    text = TRANSPOSED + SCORES + GUARD + TAIL
    model = made(text)
    graphs.node_named(model, "Reshape_kh").outputs[0].shape = ir.Shape(["batch", "sequence", 1, 8])
    graphs.node_named(model, "Reshape_qh").outputs[0].shape = ir.Shape(["batch", "sequence", 3, 8])
    assert not graph_pass.run(PASS, model).changes


def test_half_stays() -> None:
    """It holds no mask as low as the pass's."""
    text = (HEAD + TRANSPOSED + SCORES + GUARD + TAIL).replace("float[", "float16[")
    weights = {n: a.astype(np.float16) if a.dtype == np.float32 else a for n, a in WEIGHTS.items() if n in text}
    assert not graph_pass.run(PASS, graphs.model(text, weights)).changes


@pytest.mark.parametrize("packed", [True, False])
def test_zeros_of_cross_attention_are_an_answer(packed: bool) -> None:
    """A row that may see no key is a real one there."""
    text = TRANSPOSED + SCORES + GUARD + TAIL
    crossed = HEAD.replace("attention_mask)", "attention_mask, float[batch,sequence,24] other)", 1)
    crossed = crossed.replace("r = Tanh(x)", "r = Tanh(other)").replace("v0 = Neg(x)", "v0 = Neg(other)")
    used = {name: array for name, array in WEIGHTS.items() if name in crossed + text}
    source, result = (graphs.model(crossed + text, used, 20) for _ in range(2))
    graph_pass.run(FuseAttention(packed), result)
    assert "MultiHeadAttention" in graphs.op_types(result)
    given = feed() | {"other": np.random.default_rng(6).normal(size=(3, 9, 24)).astype(np.float32)}
    given["attention_mask"][2] = 0
    answers = [graphs.run(model, given)["y"] for model in (source, result)]
    assert not answers[0][2].any()
    np.testing.assert_allclose(answers[1], answers[0], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1, 1), (3, 1, 9, 1), (3, 3, 1, 1), (1, 1, 9, 9)])
def test_masks_of_any_shape(shape: tuple[int, ...], opset: int) -> None:
    bias = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    text = (HEAD + TRANSPOSED + SCORES + TAIL).replace("MatMul(w, v)", "MatMul(p, v)").replace("(s, mask)", "(s, bias)")
    used = {name: array for name, array in WEIGHTS.items() if name in text} | {"bias": np.asarray(bias)}
    source = graphs.model(text, used, opset)
    fused = source.clone()
    graph_pass.run(PASS, fused)
    assert "Softmax" not in graphs.op_types(fused)
    one, other = (graphs.run(model, feed())["y"] for model in (source, fused))
    assert graphs.rel_l2(one, other) < 1e-5


@pytest.mark.parametrize("opset", [18, 23])
def test_heads_that_the_first_product_repeats_are_one(opset: int) -> None:
    """One key for three queries, known by the constants of the Reshapes alone: said to the operator that repeats it,
    and repeated for the other one."""
    text = (HEAD + TRANSPOSED + SCORES + TAIL).replace("MatMul(w, v)", "MatMul(p, v)")
    text = text.replace("kh = Reshape(r, split)", "r1 = Slice(r, i00, i08, i02) kh = Reshape(r1, single)")
    text = text.replace("vh = Reshape(v0, split)", "v1 = Slice(v0, i00, i08, i02) vh = Reshape(v1, single)")
    more = {"i00": np.array([0]), "i08": np.array([8]), "i02": np.array([2]), "single": np.array([0, 0, 1, 8])}
    used = {name: array for name, array in (WEIGHTS | more).items() if name in text}
    source, fused = graphs.model(text, used, opset), graphs.model(text, used, opset)
    graph_pass.run(PASS, fused)
    ops = graphs.op_types(fused)
    assert "Softmax" not in ops and ("Attention" in ops) == (opset == 23)
    one, other = (graphs.run(model, feed())["y"] for model in (source, fused))
    assert graphs.rel_l2(one, other) < 1e-6


def test_a_query_for_all_rows_stays() -> None:
    text = (HEAD + TRANSPOSED + SCORES + TAIL).replace("MatMul(w, v)", "MatMul(p, v)")
    text = text.replace(
        "int64[batch,sequence] attention_mask)", "int64[batch,sequence] attention_mask, float[1,sequence,24] one)"
    )
    text = text.replace("qh = Reshape(x, split)", "qh = Reshape(one, split)")
    used = {name: array for name, array in WEIGHTS.items() if name in text}
    model = graphs.model(text, used, 20)
    model.graph.node("Reshape_qh").outputs[0].shape = ir.Shape([1, "sequence", 3, 8])
    graph_pass.run(PASS, model)
    assert "Softmax" in graphs.op_types(model)

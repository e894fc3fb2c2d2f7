"""Attention as many ways to write it: read as one, or refused with the node and the reason; and right once fused."""

from __future__ import annotations

import graphs
import numpy as np
import onnx_ir as ir
import pytest
from twins import TWINS, twin

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.fuse_attention import FuseAttention
from onnxfix.surgery.sites.attention import attention_cores
from onnxfix.surgery.sites.attention.attention_cores import AttentionCore
from onnxfix.surgery.sites.attention.operators.fused_attention import FusedAttention
from onnxfix.surgery.sites.attention.refusal import Refusal

HEADS, SIZE = 3, 8
HEAD = """g (float[batch,sequence,24] x, int64[batch,sequence] attention_mask) => (float[a,b,24] y) {
    qt = MatMul(x, wq)
    kt = MatMul(x, wk)
    vt = MatMul(x, wv)
"""
SPLIT = """
    q4 = Reshape(qt, split)
    k4 = Reshape(kt, split)
    v4 = Reshape(vt, split)
    q = Transpose<perm = [0, 2, 1, 3]>(q4)
    k = Transpose<perm = [0, 2, 1, 3]>(k4)
    v = Transpose<perm = [0, 2, 1, 3]>(v4)
    kr = Transpose<perm = [0, 1, 3, 2]>(k)
"""
SCORES = """
    raw = MatMul(q, kr)
    scores = Mul(raw, scale)
"""
MASK = """
    around = Constant<value_ints = [1, 2]>()
    seen = Cast<to = 9>(attention_mask)
    keys = Unsqueeze(seen, around)
"""
ADDED = "mask = Where(keys, zero, lowest) \n masked = Add(scores, mask)\n"
SOFT = "p = Softmax<axis = -1>(masked)\n"
SUM = "o = MatMul(p, v)\n"
TAIL = """
    t = Transpose<perm = [0, 2, 1, 3]>(o)
    joined = Reshape(t, join)
    y = MatMul(joined, wo)
}"""
PLAIN = HEAD + SPLIT + SCORES + MASK + ADDED + SOFT + SUM + TAIL
RNG = np.random.default_rng(4)
WEIGHTS = {
    **{name: (RNG.normal(size=(24, 24)) / 5).astype(np.float32) for name in ("wq", "wk", "wv", "wo")},
    "wqkv": (RNG.normal(size=(24, 72)) / 5).astype(np.float32),
    "wkv": (RNG.normal(size=(24, 8)) / 5).astype(np.float32),
    "whalf": (RNG.normal(size=(24, 16)) / 5).astype(np.float32),
    "split": np.array([0, 0, HEADS, SIZE]),
    "one_head": np.array([0, 0, 1, SIZE]),
    "join": np.array([0, 0, 24]),
    "scale": np.array(0.3, np.float32),
    "half": np.array(0.5, np.float32),
    "per_feature": np.linspace(0.5, 1.5, SIZE).astype(np.float32),
    "zero": np.array(0, np.float32),
    "lowest": np.array(np.finfo(np.float32).min, np.float32),
    "weak": np.array(-5, np.float32),
    "sixteen": np.array(0.09, np.float32),
    "bias": RNG.normal(size=(1, HEADS, 1, 1)).astype(np.float32),
    "folded": np.array([-1, 0, SIZE]),
    "minus1": np.array([-1]),
    "heads": np.array([HEADS]),
    "n0": np.array([0]),
    "n1": np.array([1]),
    "n2": np.array([2]),
    "n3": np.array([3]),
}


def made(text: str, opset: int = 20, **more: np.ndarray) -> Model:
    known = WEIGHTS | more
    used = {name: array for name, array in known.items() if name in text}
    return graphs.model(text, used, opset)


def changed(*pairs: tuple[str, str], text: str = PLAIN) -> str:
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def feed(rows: int = 2, tokens: int = 9) -> dict[str, np.ndarray]:
    mask = np.ones((rows, tokens), np.int64)
    mask[1, tokens // 2 :] = 0
    return {"x": np.random.default_rng(0).normal(size=(rows, tokens, 24)).astype(np.float32), "attention_mask": mask}


def site(model: Model) -> AttentionCore | Refusal:
    (found,) = attention_cores.sites(model)
    assert not isinstance(found, FusedAttention)
    return found


def core(model: Model) -> AttentionCore:
    found = site(model)
    assert isinstance(found, AttentionCore), found
    return found


FOLD = """
    q4 = Reshape(qt, split)
    k4 = Reshape(kt, split)
    v4 = Reshape(vt, split)
    qh = Transpose<perm = [0, 2, 1, 3]>(q4)
    kh = Transpose<perm = [0, 2, 1, 3]>(k4)
    vh = Transpose<perm = [0, 2, 1, 3]>(v4)
    n = Shape<start = 1, end = 2>(x)
    eight = Constant<value_ints = [8]>()
    three = Concat<axis = 0>(minus1, n, eight)
    q = Reshape(qh, three)
    k = Reshape(kh, three)
    v = Reshape(vh, three)
    kr = Transpose<perm = [0, 2, 1]>(k)
"""
FOLDED = changed(
    (SPLIT, FOLD),
    ("masked = Add(scores, mask)", """four = Concat<axis = 0>(minus1, heads, n, n)
    apart = Reshape(scores, four)
    added = Add(apart, mask)
    flat = Concat<axis = 0>(minus1, n, n)
    masked = Reshape(added, flat)"""),
    ("o = MatMul(p, v)", """of = MatMul(p, v)
    result = Concat<axis = 0>(minus1, heads, n, eight)
    o = Reshape(of, result)"""),
)  # fmt: skip
REPEAT = """
    q4 = Reshape(qt, split)
    k0 = MatMul(x, wkv)
    k4 = Reshape(k0, one_head)
    eight8 = Constant<value_ints = [8]>()
    v0 = Slice(kt, n0, eight8, n2)
    v4 = Reshape(v0, one_head)
    q = Transpose<perm = [0, 2, 1, 3]>(q4)
    k1 = Transpose<perm = [0, 2, 1, 3]>(k4)
    v1 = Transpose<perm = [0, 2, 1, 3]>(v4)
    times = Constant<value_ints = [1, 3, 1, 1]>()
    k = Expand(k1, times)
    v = Expand(v1, times)
    kr = Transpose<perm = [0, 1, 3, 2]>(k)
"""
REPEATED = changed((SPLIT, REPEAT))
BROADCAST = changed(("k = Expand(k1, times)", "k = Identity(k1)"), ("v = Expand(v1, times)", "v = Identity(v1)"),
                    text=REPEATED)  # fmt: skip
PACKED = changed((HEAD, HEAD.split("{", 1)[0] + """{
    all = MatMul(x, wqkv)
    sizes = Constant<value_ints = [24, 24, 24]>()
    qt, kt, vt = Split<axis = 2>(all, sizes)
"""))  # fmt: skip
STACKED = changed((HEAD, HEAD.split("{", 1)[0] + """{
    all = MatMul(x, wqkv)
    five = Constant<value_ints = [0, 0, 3, 3, 8]>()
    stacked = Reshape(all, five)
    turned = Transpose<perm = [2, 0, 3, 1, 4]>(stacked)
    i0 = Constant<value_int = 0>()
    i1 = Constant<value_int = 1>()
    i2 = Constant<value_int = -1>()
    q = Gather(turned, i0)
    k = Gather(turned, i1)
    v = Gather(turned, i2)
    kr = Transpose<perm = [0, 1, 3, 2]>(k)
"""), (SPLIT, ""))  # fmt: skip
BY_HEAD = changed((HEAD, HEAD.split("{", 1)[0] + """{
    all = MatMul(x, wqkv)
    of_head = Constant<value_ints = [0, 0, 3, 24]>()
    apart = Reshape(all, of_head)
    turned = Transpose<perm = [0, 2, 1, 3]>(apart)
    sizes = Constant<value_ints = [8, 8, 8]>()
    q, k, v = Split<axis = 3>(turned, sizes)
    kr = Transpose<perm = [0, 1, 3, 2]>(k)
"""), (SPLIT, ""))  # fmt: skip
EINSUM = changed((SPLIT, "q = Reshape(qt, split)\n k = Reshape(kt, split)\n v = Reshape(vt, split)\n"),
                 ("raw = MatMul(q, kr)", 'raw = Einsum<equation = "bqhd,bkhd->bhqk">(q, k)'),
                 ("o = MatMul(p, v)", 'o = Einsum<equation = "bhqk,bkhd->bqhd">(p, v)'),
                 ("t = Transpose<perm = [0, 2, 1, 3]>(o)", "t = Identity(o)"))  # fmt: skip
WAYS = {
    "plain": PLAIN,
    "einsum": EINSUM,
    "einsum of the other order": changed(('"bhqk,bkhd->bqhd">(p, v)', '"bkhd,bhqk->bqhd">(v, p)'), text=EINSUM),
    "fused products": changed(("raw = MatMul(q, kr)", 'raw = com.microsoft.FusedMatMul<transB = 1, alpha = 0.5>(q, k)'),
                              ("    kr = Transpose<perm = [0, 1, 3, 2]>(k)\n", "")),
    "folded": FOLDED,
    "one head repeated": REPEATED,
    "one head broadcast": BROADCAST,
    "packed": PACKED,
    "stacked": STACKED,
    "split by head": BY_HEAD,
    "no mask": changed((ADDED, ""), ("Softmax<axis = -1>(masked)", "Softmax<axis = 3>(scores)")),
    "where": changed((ADDED, "masked = Where(keys, scores, lowest)\n")),
    "where not": changed((ADDED, "hidden = Not(keys)\n masked = Where(hidden, lowest, scores)\n")),
    "two terms": changed((ADDED, ADDED.replace("Add(scores, mask)", "Add(biased, mask)")),
                         ("scores = Mul(raw, scale)", "scores = Mul(raw, scale)\n biased = Add(bias, scores)")),
    "bias, then scale": changed(("scores = Mul(raw, scale)", "more = Sub(raw, bias)\n scores = Mul(more, scale)")),
    "bias, then where": changed((ADDED, "sum = Add(scores, bias)\n masked = Where(keys, sum, lowest)\n")),
    "scale of roots": changed(("scores = Mul(raw, scale)", "scores = Identity(raw)"),
                              ("raw = MatMul(q, kr)", """root = Sqrt(sixteen)
    qs = Mul(q, root)
    ks = Mul(root, kr)
    raw = MatMul(qs, ks)""")),
    "scale of a size": changed(("scores = Mul(raw, scale)", """shape = Shape(q)
    sized = Gather(shape, last)
    float = Cast<to = 1>(sized)
    rooted = Sqrt(float)
    scores = Div(raw, rooted)"""), ("raw = MatMul", "last = Constant<value_int = 3>()\n raw = MatMul")),
    "scale before the heads": changed(("q4 = Reshape(qt, split)", "qtt = Mul(qt, half)\n q4 = Reshape(qtt, split)")),
    "guarded": changed((SUM, "bad = IsNaN(p)\n w = Where(bad, zero, p)\n o = MatMul(w, v)\n")),
    "casts and dropout": changed((SUM, "pc = Cast<to = 1>(p)\n pd = Dropout(pc)\n o = MatMul(pd, v)\n")),
    "kept by shape": changed(("t = Transpose<perm = [0, 2, 1, 3]>(o)", """os = Shape(o)
    ob = Gather<axis = 0>(os, n0)
    rest = Constant<value_ints = [-1, 3, 8]>()
    to = Concat<axis = 0>(ob, rest)
    t = Transpose<perm = [0, 2, 1, 3]>(o)"""), ("joined = Reshape(t, join)", """again = Reshape(t, to)
    joined = Reshape(again, join)""")),
    "shape read outside": changed(("y = MatMul(joined, wo)", """scored = Shape(scores)
    rows = Gather<axis = 0>(scored, n2)
    real = Cast<to = 1>(rows)
    z = MatMul(joined, wo)
    y = Div(z, real)""")),
    "tokens in rows": changed(("joined = Reshape(t, join)\n    y = MatMul(joined, wo)", """
    flat = Constant<value_ints = [-1, 24]>()
    joined = Reshape(t, flat)
    z = MatMul(joined, wo)
    xs = Shape(x)
    y = Reshape(z, xs)""")),
}  # fmt: skip


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("way", WAYS)
def test_each_way_is_read_and_the_answer_is_the_same(way: str, opset: int) -> None:
    source, fused = made(WAYS[way], opset), made(WAYS[way], opset)
    assert core(source).heads == HEADS
    graph_pass.run(FuseAttention(), fused)
    ops = graphs.op_types(fused)
    assert ("Attention" if opset == 23 else "MultiHeadAttention") in ops
    assert "Softmax" not in ops and "IsNaN" not in ops
    for tokens in (9, 1, 30):
        one, other = (graphs.run(model, feed(tokens=tokens))["y"] for model in (source, fused))
        seen = feed(tokens=tokens)["attention_mask"].astype(bool)
        seen[0] = True
        assert graphs.rel_l2(one[seen[:, : one.shape[1]]], other[seen[:, : one.shape[1]]]) <= 1e-6


@pytest.mark.parametrize("names", TWINS)
def test_names_of_nodes_are_nothing(names: str) -> None:
    model = twin(made(PLAIN), TWINS[names])
    assert core(model).query.joined


@pytest.mark.parametrize(
    ("pairs", "node", "reason"),
    [
        ([("Softmax<axis = -1>", "Softmax<axis = 2>")], "Softmax", "last axis"),
        ([("scores = Mul(raw, scale)", "capped = Tanh(raw)\n scores = Mul(capped, scale)")], "Tanh", "caps"),
        ([("scores = Mul(raw, scale)", "scores = Relu(raw)")], "Relu", "no product"),
        ([("raw = MatMul(q, kr)", "raw0 = MatMul(q, kr)\n raw = Transpose<perm = [0, 1, 3, 2]>(raw0)")],
         "Transpose", ""),
        ([(SUM, SUM + "more = ReduceMax<keepdims = 0>(p)\n"), ("y = Mat", "y0 = Mat"),
          ("wo)\n}", "wo)\n y = Add(y0, more)\n}")], "Softmax", "more than once"),
        ([(ADDED, ADDED + "more = ReduceMax<keepdims = 0>(scores)\n"), ("y = Mat", "y0 = Mat"),
          ("wo)\n}", "wo)\n y = Add(y0, more)\n}")], "Mul", "more than once"),
        ([(ADDED, "masked = Where(keys, scores, weak)\n")], "Where", "-5"),
        ([("masked = Add(scores, mask)", "half16 = Cast<to = 10>(scores)\n back = Cast<to = 1>(half16)\n"
           "masked = Add(back, mask)")], "Cast", "half"),
        ([("o = MatMul(p, v)", "o = MatMul(p, v)\n q9 = MatMul(v, p2)"),
          ("p = Softmax", "p2 = Transpose<perm = [0, 1, 3, 2]>(scores)\n p = Softmax")], "Mul", "more than once"),
    ],
)  # fmt: skip
def test_a_refusal_has_its_node_and_reason(pairs: list[tuple[str, str]], node: str, reason: str) -> None:
    model = made(changed(*pairs))
    found = site(model)
    assert isinstance(found, Refusal) and found.site.op_type == "Softmax"
    assert found.node.op_type == node and reason in found.reason
    before = model.fingerprint()
    outcome = graph_pass.run(FuseAttention(), model)
    assert model.fingerprint() == before and found.reason in outcome.notes[0]


def test_a_number_for_each_feature_is_no_scale() -> None:
    """Neither of queries nor of scores: it stays in front of the product."""
    source = made(changed(("raw = MatMul(q, kr)", "qs = Mul(q, per_feature)\n raw = MatMul(qs, kr)")))
    assert core(source).scale == pytest.approx(0.3) and core(source).query.perm == (0, 2, 1, 3)
    fused = source.clone()
    graph_pass.run(FuseAttention(), fused)
    one, other = (graphs.run(model, feed())["y"] for model in (source, fused))
    assert graphs.rel_l2(one, other) <= 1e-6


def test_as_many_heads_as_positions() -> None:
    """A Reshape to [batch, heads, positions, size] without a Transpose has the right shape at three positions, and
    is no split of heads."""
    right = changed(("[batch,sequence", "[batch,3"))
    wrong = changed(("q = Transpose<perm = [0, 2, 1, 3]>(q4)", "q = Identity(q4)"), text=right)
    assert core(made(right)).query.perm is None
    assert core(made(wrong)).query.perm == (0, 2, 1, 3)
    fused = made(wrong)
    graph_pass.run(FuseAttention(), fused)
    one, other = (graphs.run(model, feed(tokens=3))["y"] for model in (made(wrong), fused))
    assert graphs.rel_l2(one, other) <= 1e-6


def test_as_many_rows_as_positions() -> None:
    """A Transpose that swaps batch and positions: the value behind it is not what is attended to."""
    text = changed(*[(f"{n} = Transpose<perm = [0, 2, 1, 3]>({n}4)", f"{n} = Transpose<perm = [1, 2, 0, 3]>({n}4)")
                     for n in "qkv"], (ADDED, ""), ("Softmax<axis = -1>(masked)", "Softmax<axis = -1>(scores)"),
                   ("t = Transpose<perm = [0, 2, 1, 3]>(o)", "t = Transpose<perm = [2, 0, 1, 3]>(o)"))  # fmt: skip
    source = made(text)
    found = core(source)
    assert (found.query.perm, found.key.perm) == ((1, 0, 2, 3), (1, 0, 2, 3))
    fused = source.clone()
    graph_pass.run(FuseAttention(), fused)
    same = {"x": feed(4, 4)["x"], "attention_mask": feed(4, 4)["attention_mask"]}
    one, other = (graphs.run(model, same)["y"] for model in (source, fused))
    assert graphs.rel_l2(one, other) <= 1e-6


def test_features_beside_others_are_taken_without_a_transpose() -> None:
    found = core(made(BY_HEAD))
    assert [operand.start for operand in (found.query, found.key, found.value)] == [0, 8, 16]
    fused = made(BY_HEAD)
    graph_pass.run(FuseAttention(), fused)
    assert "Transpose" not in graphs.op_types(fused)


def test_heads_repeated_in_turn_are_not_grouped() -> None:
    """Two heads of keys as a b a b for four of queries: the operators repeat them as a a b b."""
    four4 = "four4 = Constant<value_ints = [0, 0, 4, 6]>()\n"
    text = changed(("q4 = Reshape(qt, split)", four4 + "q4 = Reshape(qt, four4)"),
                   ("k4 = Reshape(kt, split)", "two2 = Constant<value_ints = [0, 0, 2, 6]>()\n kn = MatMul(x, wk12)\n"
                    "k40 = Reshape(kn, two2)\n k4 = Concat<axis = 2>(k40, k40)"),
                   ("v4 = Reshape(vt, split)",
                    "v40 = Reshape(kn, two2)\n v4 = Concat<axis = 2>(v40, v40)"))  # fmt: skip
    weights = {"wk12": (RNG.normal(size=(24, 12)) / 5).astype(np.float32)}
    source = made(text, **weights)
    found = core(source)
    assert found.heads == 4 and (found.key.heads, found.key.repeats) == (4, 1)
    grouped = made(text.replace("Concat<axis = 2>(k40, k40)", "Reshape(kx, four4)").replace(
        "k4 = Reshape", "kf = Constant<value_ints = [0, 0, 2, 1, 6]>()\n k5 = Reshape(kn, kf)\n"
        "kx = Concat<axis = 3>(k5, k5)\n k4 = Reshape").replace("Concat<axis = 2>(v40, v40)", "Reshape(kx, four4)"),
        **weights)  # fmt: skip
    assert (core(grouped).key.heads, core(grouped).key.repeats) == (2, 2)
    for model in (source, grouped):
        fused = model.clone()
        graph_pass.run(FuseAttention(), fused)
        assert graphs.rel_l2(graphs.run(model, feed())["y"], graphs.run(fused, feed())["y"]) <= 1e-6


def test_cross_attention_has_two_lengths() -> None:
    text = changed(
        ("int64[batch,sequence] attention_mask", "int64[batch,source] attention_mask, float[batch,source,24] z"),
        ("kt = MatMul(x, wk)", "kt = MatMul(z, wk)"),
        ("vt = MatMul(x, wv)", "vt = MatMul(z, wv)"),
    )
    source, fused = made(text), made(text)
    graph_pass.run(FuseAttention(), fused)
    assert "MultiHeadAttention" in graphs.op_types(fused)
    given = feed(tokens=5) | {"x": feed(tokens=12)["x"], "z": feed(tokens=5)["x"]}
    one, other = (graphs.run(model, given)["y"] for model in (source, fused))
    assert graphs.rel_l2(one, other) <= 1e-6


def test_inputs_that_are_declared_as_what_they_are_not() -> None:
    model = made(PLAIN)
    model.graph.node("Reshape_k4").outputs[0].shape = ir.Shape(["batch", "sequence", 1, 24])
    found = site(model)
    assert isinstance(found, Refusal) and "is declared as" in found.reason


@pytest.mark.parametrize("opset", [20, 23])
def test_what_is_fused_is_listed_and_left_alone(opset: int) -> None:
    model = made(PLAIN, opset)
    graph_pass.run(FuseAttention(), model)
    (found,) = attention_cores.sites(model)
    assert isinstance(found, FusedAttention)
    assert (found.heads, found.key_heads, found.scale) == (HEADS, HEADS, pytest.approx(0.3))
    assert found.bias is not None and not graph_pass.run(FuseAttention(), model).changes


def nested(text: str) -> Model:
    """All behind the first products in a branch that is taken where the batch is no single row."""
    head, body = text.split("vt = MatMul(x, wv)\n")
    body = body.rsplit("}", 1)[0]
    inner = f"then_branch = g1 () => (float[a1,b1,24] then_y) {{ {body.replace('y = MatMul', 'then_y = MatMul')} }}"
    other = "else_branch = g2 () => (float[a2,b2,24] else_y) { else_y = Identity(qt) }"
    rows = """
    rows = Shape<start = 0, end = 1>(x)
    many1 = Greater(rows, n1)
    many = Squeeze(many1)
"""
    return made(f"{head}vt = MatMul(x, wv)\n{rows} y = If(many) <{inner}, {other}>\n}}")


def test_in_a_branch() -> None:
    source = nested(PLAIN)
    assert core(source).heads == HEADS
    fused = source.clone()
    graph_pass.run(FuseAttention(), fused)
    kinds = [node.op_type for node in fused.graph.all_nodes()]
    assert "MultiHeadAttention" in kinds and "Softmax" not in kinds
    for rows in (2, 3):
        one, other = (graphs.run(model, feed(rows))["y"] for model in (source, fused))
        assert graphs.rel_l2(one, other) <= 1e-6

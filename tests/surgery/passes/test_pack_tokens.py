"""Batches with padding are computed as one row of real tokens, and every real token gets the answer that it had."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import pytest
import twins

from onnxfix.eval.bench.variant import Variant
from onnxfix.eval.report.contents import batched
from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime
from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.fuse_attention import FuseAttention
from onnxfix.surgery.passes.pack_tokens import PackTokens
from onnxfix.surgery.sites.tokens.packed import packs

PASS = PackTokens()
RNG = np.random.default_rng(0)
WIDTH, HEADS, INNER, WORDS = 24, 3, 40, 50
WEIGHTS = {
    "table": RNG.normal(0, 1, (WORDS, WIDTH)),
    "places": RNG.normal(0, 1, (600, WIDTH)),
    **{name: RNG.normal(0, 0.2, (WIDTH, WIDTH)) for name in ("wq", "wk", "wv", "wo")},
    "up": RNG.normal(0, 0.2, (WIDTH, INNER)),
    "down": RNG.normal(0, 0.2, (INNER, WIDTH)),
    "scale": np.ones(WIDTH),
    "lowest": np.array(-1e9),
    "zero": np.array(0.0),
}
SHAPES = {"split": np.array([0, 0, HEADS, WIDTH // HEADS]), "joined": np.array([0, 0, WIDTH]), "last": np.array([-1])}
HEAD = """g (int64[batch,sequence] input_ids, int64[batch,sequence] attention_mask) => (float[batch,sequence,24] y) {
    ends = Constant<value_ints = [1]>()
    begin = Constant<value_ints = [0]>()
    size = Shape<start = 1, end = 2>(input_ids)
    here = Slice(places, begin, size, begin)
    e0 = Gather(table, input_ids)
    e = Add(e0, here)
    n = LayerNormalization<axis = -1>(e, scale)
    q0 = MatMul(n, wq) k0 = MatMul(n, wk) v0 = MatMul(n, wv)
    qh = Reshape(q0, split) kh = Reshape(k0, split) vh = Reshape(v0, split)
    q = Transpose<perm = [0, 2, 1, 3]>(qh)
    k = Transpose<perm = [0, 2, 3, 1]>(kh)
    v = Transpose<perm = [0, 2, 1, 3]>(vh)
    around = Constant<value_ints = [1, 2]>()
    seen = Cast<to = 9>(attention_mask)
    wide = Unsqueeze(seen, around)
    mask = Where(wide, zero, lowest)
    s0 = MatMul(q, k)
    s = Add(s0, mask)
    p = Softmax<axis = -1>(s)
    c = MatMul(p, v)
    ct = Transpose<perm = [0, 2, 1, 3]>(c)
    cj = Reshape(ct, joined)
    o = MatMul(cj, wo)
    r = Add(e, o)
"""
MLP = """
    m = LayerNormalization<axis = -1>(r, scale)
    h = MatMul(m, up) a = Relu(h) d = MatMul(a, down)
    y = Add(r, d)
}"""


def encoder(rest: str = MLP, head: str = HEAD, **more: np.ndarray) -> Model:
    arrays = {name: array.astype(np.float32) for name, array in (WEIGHTS | more).items()}
    return graphs.model(head + rest, arrays | SHAPES)


def BAD() -> Model:
    return encoder()


def SOUND() -> Model:
    """Every token is real, whatever the ids are compared with."""
    text = (HEAD + MLP).replace(", int64[batch,sequence] attention_mask)", ")")
    return encoder("", text.replace("Cast<to = 9>(attention_mask)", "GreaterOrEqual(input_ids, first)").replace(
        "ends = ", "first = Constant<value_int = 0>() ends = ", 1))  # fmt: skip


def masks(batch: int, length: int) -> dict[str, np.ndarray]:
    right = (np.arange(length)[None] < np.linspace(length, 1, batch).astype(int)[:, None]).astype(np.int64)
    holes = (RNG.random((batch, length)) < 0.5).astype(np.int64)
    holes[:, length // 2] = 1
    empty = right.copy()
    empty[-1] = 0
    every = {"full": np.ones_like(right), "right": right, "left": right[:, ::-1], "holes": holes, "empty row": empty}
    return {name: np.ascontiguousarray(mask) for name, mask in every.items()}


def feeds(batch: int, length: int) -> list[dict[str, np.ndarray]]:
    ids = RNG.integers(0, WORDS, (batch, length))
    return [{"input_ids": ids, "attention_mask": mask} for mask in masks(batch, length).values()]


def packed(model: Model) -> Model:
    after = model.clone()
    graph_pass.run(PASS, after)
    return after


def agree(before: Model, after: Model, batch: int, length: int) -> None:
    for feed in feeds(batch, length):
        wanted, found = graphs.run(before, feed)["y"], graphs.run(after, feed)["y"]
        real = feed["attention_mask"] > 0
        assert found.shape == wanted.shape
        assert np.allclose(wanted[real], found[real], atol=2e-5), feed["attention_mask"]
        assert not found[~real].any(), "what is padding is zero"


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (1, 7), (3, 9), (5, 33)])
def test_every_real_token_keeps_its_answer(batch: int, length: int) -> None:
    assert PASS.measure(encoder()) == 6
    agree(encoder(), packed(encoder()), batch, length)


def test_what_packs_its_tokens_is_told_from_its_graph() -> None:
    assert packs(packed(encoder())) and not packs(encoder())
    counted = "count = NonZero(attention_mask) gathered = Shape(count) y = Add(r, lowest) }"
    assert not packs(encoder(counted)), "it only counts them"


def test_a_row_of_a_bench_says_that_it_packs(tmp_path: Path) -> None:
    for model, said in ((packed(encoder()), "sorted, packed"), (encoder(), "sorted")):
        variant = Variant("model", OnnxRuntime(), model.save(tmp_path / "model.onnx"))
        assert batched({"batching": "sorted", "packed": variant.packs()}) == said


def test_no_token_at_all() -> None:
    after = packed(encoder())
    feed = {"input_ids": np.ones((2, 3), np.int64), "attention_mask": np.zeros((2, 3), np.int64)}
    assert not graphs.run(after, feed)["y"].any()


def test_products_are_of_real_tokens_alone() -> None:
    """The product with the widest weight reads as many rows as there are real tokens, and one."""
    after = packed(encoder())
    node = next(n for n in after.nodes() if n.op_type == "MatMul" and n.inputs[1] and n.inputs[1].name == "up")
    rows = node.outputs[0]
    rows.name = "rows"
    after.graph.outputs.append(rows)
    for feed in feeds(4, 21):
        assert graphs.run(after, feed)["rows"].shape == (1, feed["attention_mask"].sum() + 1, INNER)


def test_unnamed_nodes_and_other_names() -> None:
    before = twins.twin(encoder(), twins.unnamed)
    assert PASS.measure(before) == 6
    agree(before, packed(before), 3, 9)
    text = (HEAD + MLP).replace("attention_mask", "seen_by_all").replace("batch", "n").replace("sequence", "t")
    other = encoder("", text)
    assert PASS.measure(other) == 6


def test_behind_one_operator_of_attention() -> None:
    before = encoder()
    fused = before.clone()
    graph_pass.run(FuseAttention(), fused)
    assert "MultiHeadAttention" in graphs.op_types(fused)
    agree(before, packed(fused), 3, 9)


def test_tokens_that_share_an_axis_with_rows() -> None:
    """[batch · sequence, width], as Gemm wants them."""
    rest = """
        m = LayerNormalization<axis = -1>(r, scale)
        rows = Constant<value_ints = [-1, 24]>()
        flat = Reshape(m, rows)
        h = Gemm(flat, up, bias) a = Relu(h) d0 = MatMul(a, down)
        shape = Shape(r)
        d = Reshape(d0, shape)
        y = Add(r, d)
    }"""
    before = encoder(rest, bias=RNG.normal(size=INNER))
    assert PASS.measure(before) == 6
    agree(before, packed(before), 3, 9)


# What reads several tokens between attention and the layers behind it.
MIXING = {
    "a convolution": "rt = Transpose<perm = [0, 2, 1]>(r) ct2 = Conv<pads = [1, 1]>(rt, kernel) "
    "r2 = Transpose<perm = [0, 2, 1]>(ct2)",
    "a running sum": "along = Constant<value_int = 1>() r2 = CumSum(r, along)",
    "a softmax over tokens": "r2 = Softmax<axis = 1>(r)",
    "the token before": "minus = Constant<value_ints = [-1]>() first = Slice(r, begin, ends, ends) "
    "rest = Slice(r, begin, minus, ends) r2 = Concat<axis = 1>(first, rest)",
    "a mean of all tokens": "r1 = ReduceMean<keepdims = 1>(r, ends) r2 = Sub(r, r1)",
    "a softmax over tokens in the place of rows": "rt = Transpose<perm = [1, 0, 2]>(r) s2 = Softmax<axis = 0>(rt) "
    "r2 = Transpose<perm = [1, 0, 2]>(s2)",
}


@pytest.mark.parametrize("kind", MIXING)
def test_before_what_reads_padding_nothing_is_packed(kind: str) -> None:
    """It sees what it saw, and the two layers behind it are packed."""
    before = encoder(f"{MIXING[kind]} {MLP.replace('(r, ', '(r2, ')}", kernel=RNG.normal(size=(WIDTH, WIDTH, 3)))
    assert PASS.measure(before) == 2
    agree(before, packed(before), 3, 9)


def test_a_mean_of_what_the_mask_shows_reads_no_padding() -> None:
    """And the first token, which stands for its row, is that of an output."""
    rest = MLP.replace("y = Add(r, d)", """z = Add(r, d)
        two = Constant<value_ints = [2]>() first = Constant<value_int = 0>()
        shown = Cast<to = 1>(attention_mask) wide2 = Unsqueeze(shown, two) zs = Mul(z, wide2)
        sum = ReduceSum<keepdims = 0>(zs, ends) count = ReduceSum<keepdims = 1>(shown, ends) mean = Div(sum, count)
        cls = Gather<axis = 1>(z, first) y = Add(mean, cls)""")  # fmt: skip
    before = encoder(rest, HEAD.replace("float[batch,sequence,24] y", "float[batch,24] y"))
    assert PASS.measure(before) == 6
    after = packed(before)
    for name, mask in masks(3, 9).items():
        if name in ("full", "right"):
            feed = {"input_ids": RNG.integers(0, WORDS, (3, 9)), "attention_mask": mask}
            assert np.allclose(graphs.run(before, feed)["y"], graphs.run(after, feed)["y"], atol=2e-5)


def test_a_mask_the_other_way_round_is_none() -> None:
    """1 where a token is padding: what would be packed is what nobody may see."""
    before = encoder("", (HEAD + MLP).replace("Where(wide, zero, lowest)", "Where(wide, lowest, zero)"))
    assert PASS.measure(before) == 0


@pytest.mark.parametrize("kind", ["weights that no Softmax makes", "likeness of all tokens to each other"])
def test_pairs_of_tokens_that_no_mask_hides_tell_of_padding(kind: str) -> None:
    """Beside an attention that hides it. Two layers behind them, or none, are packed."""
    if kind.startswith("weights"):
        more = """rt = Transpose<perm = [0, 2, 1]>(r) s2 = MatMul(r, rt) p2 = Sigmoid(s2) r2 = MatMul(p2, r)"""
        before = encoder(more + MLP.replace("(r, ", "(r2, "))
        assert PASS.measure(before) == 2
        agree(before, packed(before), 3, 9)
    else:
        more = """yt = Transpose<perm = [0, 2, 1]>(y0) s2 = MatMul(y0, yt) minus = Constant<value_ints = [-1]>()
            most = ReduceMax<keepdims = 1>(s2, minus) y = Add(y0, most) }"""
        before = encoder(MLP.replace("y = Add(r, d)\n}", "y0 = Add(r, d)\n") + more)
        assert PASS.measure(before) == 0


def test_an_attention_without_the_mask_reads_padding() -> None:
    """Every key of it counts, so that nothing before it may be left out."""
    before = encoder("", (HEAD + MLP).replace("s = Add(s0, mask)", "s = Add(s0, zero)"))
    assert PASS.measure(before) == 0


@pytest.mark.parametrize(
    "text",
    [
        (HEAD + MLP).replace("batch,sequence] attention_mask", "2,sequence] attention_mask"),
        (HEAD + MLP).replace("wide = Unsqueeze(seen, around)", "wide0 = Unsqueeze(seen, around) wide1 = Shape(wide0) "
                             "wide = ConstantOfShape<value = bool[1] {1}>(wide1)"),
    ],
    ids=["a mask of fixed size", "a mask whose size alone is read"],
)  # fmt: skip
def test_without_padding_nothing_is_packed(text: str) -> None:
    model = encoder("", text)
    assert PASS.measure(model) == 0
    assert not graph_pass.run(PASS, model).changes

"""Batches with padding are computed as one row of real tokens, and every real token gets the answer that it had."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import pytest
import twins
from encoder_graphs import HEAD, INNER, MLP, RNG, WIDTH, WORDS, agree, encoder, feeds, masks

from onnxfix.eval.bench.bench import Course, run_bench
from onnxfix.eval.bench.variant import Variant
from onnxfix.eval.inputs.point import BATCHINGS, grid
from onnxfix.eval.inputs.workload import Workload
from onnxfix.eval.report.contents import batched
from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime
from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.fuse_attention import FuseAttention
from onnxfix.surgery.passes.loop_global_attention import LoopGlobalAttention
from onnxfix.surgery.passes.pack_tokens import PackTokens
from onnxfix.surgery.sites.tokens.packed.packs import packs

PASS = PackTokens()


def BAD() -> Model:
    return encoder()


def SOUND() -> Model:
    """Every token is real, whatever the ids are compared with."""
    text = (HEAD + MLP).replace(", int64[batch,sequence] attention_mask)", ")")
    return encoder("", text.replace("Cast<to = 9>(attention_mask)", "GreaterOrEqual(input_ids, first)").replace(
        "ends = ", "first = Constant<value_int = 0>() ends = ", 1))  # fmt: skip


def packed(model: Model) -> Model:
    after = model.clone()
    graph_pass.run(PASS, after)
    return after


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


def test_a_bench_of_padded_rows_says_that_one_of_them_packs(tmp_path: Path) -> None:
    rows = tuple({"input_ids": np.arange(1, n), "attention_mask": np.ones(n - 1, np.int64)} for n in (3, 9, 5, 7))
    variants = [
        Variant(name, OnnxRuntime(), model.save(tmp_path / f"{name}.onnx"))
        for name, model in (("plain", encoder()), ("packs", packed(encoder())))
    ]
    for ways, said in ((BATCHINGS[:1], True), (BATCHINGS, False)):
        report = run_bench(variants, Workload("rows", rows), Course(grid((2,), (), ways), rounds=2, threads=1))
        assert [row.packed for row in report.rows[:2]] == [False, True] and not any(row.failure for row in report.rows)
        assert any(note.startswith("real tokens alone are computed by packs") for note in report.notes) == said
        assert any("batching='both' has rows sorted" in note for note in report.notes) == said


def test_no_token_at_all() -> None:
    after = packed(encoder())
    feed = {"input_ids": np.ones((2, 3), np.int64), "attention_mask": np.zeros((2, 3), np.int64)}
    assert not graphs.run(after, feed)["y"].any()


def test_products_are_of_real_tokens_alone() -> None:
    """The product with the widest weight reads as many rows as there are real tokens; one where there is none."""
    after = packed(encoder())
    node = next(n for n in after.nodes() if n.op_type == "MatMul" and n.inputs[1] and n.inputs[1].name == "up")
    rows = node.outputs[0]
    rows.name = "rows"
    after.graph.outputs.append(rows)
    empty = {name: array * 0 for name, array in feeds(4, 21)[0].items()}
    for feed in (*feeds(4, 21), empty):
        assert graphs.run(after, feed)["rows"].shape == (1, max(feed["attention_mask"].sum(), 1), INNER)


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


@pytest.mark.parametrize(("summed", "packs_all"), [("shown2", True), ("z", False)])
def test_a_mask_as_wide_as_what_it_shows_reads_no_padding(summed: str, packs_all: bool) -> None:
    """As PyTorch 2.3 writes a mean: the mask is expanded to the sizes of what it is multiplied with, and counted. A sum
    of what it does not show reads padding."""
    rest = MLP.replace("y = Add(r, d)", f"""z = Add(r, d)
        two = Constant<value_ints = [2]>() wide2 = Unsqueeze(attention_mask, two) sizes = Shape(z)
        wide3 = Expand(wide2, sizes) shown2 = Cast<to = 1>(wide3) zs = Mul(z, shown2)
        sum = ReduceSum<keepdims = 0>(zs, ends) count = ReduceSum<keepdims = 0>({summed}, ends)
        y = Div(sum, count)""")  # fmt: skip
    before = encoder(rest, HEAD.replace("float[batch,sequence,24] y", "float[batch,24] y"))
    assert PASS.measure(before) == (6 if packs_all else 0)
    if packs_all:
        for mask in (masks(3, 9)[name] for name in ("full", "right", "left", "holes")):
            feed = {"input_ids": RNG.integers(0, WORDS, (3, 9)), "attention_mask": mask}
            assert np.allclose(graphs.run(before, feed)["y"], graphs.run(packed(before), feed)["y"], atol=2e-5)


@pytest.mark.parametrize(
    ("rounded", "products"),
    [("mq = QuantizeLinear(m, step) mr = DequantizeLinear(mq, step)", 6),
     ("mq, own, none = DynamicQuantizeLinear(m) mr = DequantizeLinear(mq, own, none)", 2)],
    ids=["stated", "taken from the batch"],
)  # fmt: skip
def test_a_scale_that_all_tokens_share_is_of_each(rounded: str, products: int) -> None:
    """As static integers have it; of one that is taken from what it rounds all tokens are a part, padding too."""
    rest = MLP.replace("h = MatMul(m, up)", f"{rounded} h = MatMul(mr, up)")
    before = encoder(rest, step=np.array(0.05))
    assert PASS.measure(before) == products
    agree(before, packed(before), 3, 9)


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


TURNED = """
    start = Constant<value_int = 0>() one = Constant<value_int = 1>() inner = Squeeze(size)
    place = Range(start, inner, one) row = Unsqueeze(place, begin) whole = Shape(input_ids) ids = Expand(row, whole)
    q00 = MatMul(n, wq) q0 = com.microsoft.RotaryEmbedding<num_heads = 3>(q00, ids, cos, sin)
"""
ANGLES = """
    numbers = Cast<to = 1>(place) column = Unsqueeze(numbers, ends) angles = Mul(column, speeds)
    cos = Cos(angles) sin = Sin(angles)
"""


@pytest.mark.parametrize("kind", ["stored for 40 places", "computed for the places there are"])
def test_rotations_of_more_tokens_than_their_tables_have_rows(kind: str) -> None:
    """com.microsoft's RotaryEmbedding refuses a row that is longer than its tables, which a packed batch soon is."""
    speeds = np.float32([[1.0, 0.5, 0.2, 0.1]])
    angles = np.arange(40)[:, None] * speeds
    text, more = TURNED, {"cos": np.cos(angles), "sin": np.sin(angles)}
    if kind.startswith("computed"):
        text, more = TURNED.replace("q00 =", ANGLES + "q00 ="), {"speeds": speeds}
    before = encoder("", (HEAD + MLP).replace("q0 = MatMul(n, wq)", text), **more)
    after = packed(before)
    assert PASS.measure(before) == 6
    agree(before, after, 5, 33)
    turned = next(node for node in after.graph if node.op_type == "RotaryEmbedding")
    rows = turned.outputs[0]
    rows.name = "rows"
    after.graph.outputs.append(rows)
    assert graphs.run(after, feeds(5, 33)[0])["rows"].shape == (1, 5 * 33, WIDTH)


def test_a_table_of_all_tokens_is_no_slice_of_one() -> None:
    """Rows of what tokens have become, picked by numbers: those of padding too."""
    more = """
        rows = Constant<value_ints = [-1, 24]>() flat = Reshape(r, rows)
        three = Constant<value_int = 3>() picked = Mod(input_ids, three) r2 = Gather(flat, picked)
    """
    before = encoder(more + MLP.replace("(r, ", "(r2, "))
    assert PASS.measure(before) == 2
    agree(before, packed(before), 3, 9)


FIRST = {
    "of all rows": "z0 = Slice(z, begin, most, begin) y = Gather<axis = 1>(z0, at)",
    "as a slice": "z0 = Slice(z, begin, ends, ends) y = Squeeze(z0, ends)",
}
SEVERAL = {
    "two, by a slice": "two2 = Constant<value_ints = [2]>() z0 = Slice(z, begin, two2, ends) "
    "y = ReduceMean<keepdims = 0>(z0, ends)",
    "two, by numbers": "both = Constant<value_ints = [0, 1]>() z0 = Gather<axis = 1>(z, both) "
    "y = ReduceMean<keepdims = 0>(z0, ends)",
    "the second": "z0 = Slice(z, ends, most, ends) at2 = Constant<value_int = 0>() y = Gather<axis = 1>(z0, at2)",
}


def _reading(text: str) -> Model:
    rest = MLP.replace("y = Add(r, d)", "z = Add(r, d) at = Constant<value_int = 0>() "
                       f"most = Constant<value_ints = [9223372036854775807]>() {text}")  # fmt: skip
    return encoder(rest, HEAD.replace("float[batch,sequence,24] y", "float[batch,24] y"))


@pytest.mark.parametrize("kind", FIRST)
def test_the_first_token_stands_for_its_row(kind: str) -> None:
    before = _reading(FIRST[kind])
    assert PASS.measure(before) == 6
    feed = feeds(3, 9)[1]
    assert np.allclose(graphs.run(before, feed)["y"], graphs.run(packed(before), feed)["y"], atol=2e-5)


@pytest.mark.parametrize("kind", SEVERAL)
def test_other_places_are_padding_in_rows_that_are_not(kind: str) -> None:
    """A row of one token has padding at the second: what the source makes of it is an answer all the same."""
    before = _reading(SEVERAL[kind])
    assert PASS.measure(before) < 6
    feed = {"input_ids": np.ones((2, 3), np.int64), "attention_mask": np.array([[1, 1, 1], [1, 0, 0]])}
    assert np.allclose(graphs.run(before, feed)["y"], graphs.run(packed(before), feed)["y"], atol=2e-5)


CHOSEN = {
    "a row of all tokens": "flat = Reshape(z, rows) at0 = Mul(number, length) at = Add(at0, end) y = Gather(flat, at)",
    "by two numbers": "n2 = Unsqueeze(number, ends) e2 = Unsqueeze(end, ends) at = Concat<axis = 1>(n2, e2) "
    "y = GatherND(z, at)",
    "by one of each row": "at = Unsqueeze(end, ends) y = GatherND<batch_dims = 1>(z, at)",
    "by one for each feature": "e2 = Unsqueeze(end, around) wide4 = Shape(r) wide5 = Slice(wide4, behind, behind2) "
    "batch1 = Shape<end = 1>(r) sizes = Concat<axis = 0>(batch1, ends, wide5) at = Expand(e2, sizes) "
    "y0 = GatherElements<axis = 1>(z, at) y = Squeeze(y0, ends)",
}
LAST = MLP.replace("y = Add(r, d)", """z = Add(r, d) rows = Constant<value_ints = [-1, 24]>()
    behind = Constant<value_ints = [2]>() behind2 = Constant<value_ints = [3]>()
    start = Constant<value_int = 0>() one = Constant<value_int = 1>() length = Squeeze(size)
    place = Range(start, length, one) shown = Mul(attention_mask, place)
    end = ArgMax<axis = -1, keepdims = 0>(shown) batch0 = Shape<end = 1>(input_ids) batch = Squeeze(batch0)
    number = Range(start, batch, one) TAKEN""")  # fmt: skip


@pytest.mark.parametrize("kind", CHOSEN)
def test_the_last_token_stands_for_its_row_wherever_it_is(kind: str) -> None:
    before = encoder(
        LAST.replace("TAKEN", CHOSEN[kind]), HEAD.replace("float[batch,sequence,24] y", "float[batch,24] y")
    )
    assert PASS.measure(before) == 6
    for feed in feeds(3, 9)[:-1]:  # where a row is all padding, that is what it takes
        assert np.allclose(graphs.run(before, feed)["y"], graphs.run(packed(before), feed)["y"], atol=2e-5)


def test_a_place_that_ids_say_may_be_padding() -> None:
    """The last token that is no 0, whatever the mask says of it."""
    text = LAST.replace("Mul(attention_mask, place)", "Mul(said, place)").replace(
        "place = Range", "none = Constant<value_int = 0>() not0 = Equal(input_ids, none) is0 = Not(not0) "
        "said = Cast<to = 7>(is0) place = Range")  # fmt: skip
    taken = CHOSEN["by two numbers"]
    before = encoder(text.replace("TAKEN", taken), HEAD.replace("float[batch,sequence,24] y", "float[batch,24] y"))
    assert PASS.measure(before) == 0


def test_two_chosen_places_of_a_row_may_be_padding() -> None:
    taken = "flat = Reshape(z, rows) both = Concat<axis = 0>(number, end) y = Gather(flat, both)"
    before = encoder(LAST.replace("TAKEN", taken), HEAD.replace("float[batch,sequence,24] y", "float[n,24] y"))
    assert PASS.measure(before) == 0


def test_numbers_and_classes_of_each_token_are_outputs() -> None:
    """A score [batch, sequence], as of answers in a text, and a class of int64: both 0 at padding, and packed."""
    rest = MLP.replace("y = Add(r, d)", "z = Add(r, d) s9 = MatMul(z, one) y = Squeeze(s9, last) "
                       "classes = ArgMax<axis = -1, keepdims = 0>(z)")  # fmt: skip
    head = HEAD.replace("float[batch,sequence,24] y", "float[batch,sequence] y, int64[batch,sequence] classes")
    before = encoder(rest, head, one=RNG.normal(size=(WIDTH, 1)))
    assert PASS.measure(before) == 7
    for feed in feeds(3, 9):
        wanted, found = graphs.run(before, feed), graphs.run(packed(before), feed)
        real = feed["attention_mask"] > 0
        assert np.allclose(wanted["y"][real], found["y"][real], atol=2e-5) and not found["y"][~real].any()
        assert np.array_equal(wanted["classes"][real], found["classes"][real]) and not found["classes"][~real].any()


def test_what_keeps_products_from_it_is_named() -> None:
    """A mean over all tokens, between two parts of which the second has products of its own."""
    between = """all0 = ReduceMean<keepdims = 1>(r, ends) r2 = Add(r, all0)"""
    model = encoder(between + MLP.replace("(r, ", "(r2, "))
    (note,) = (n for n in graph_pass.run(PASS, model).notes if n.startswith("what is computed before"))
    assert note.endswith("ReduceMean ReduceMean_all0 reads what stands at tokens of padding")


ROWS_APART = """m = LayerNormalization<axis = -1>(r, scale) whole = Shape(m) far = Constant<value_ints = [2]>()
    three = Constant<value_ints = [3]>() flat = Constant<value_ints = [-1, 24]>()
    batch = Slice(whole, begin, ends) features = Slice(whole, far, three)
    mt = ORDER(m) f = Reshape(mt, flat) h = MatMul(f, up) a = Relu(h) d0 = MatMul(a, down)
    sizes = Concat<axis = 0>(FIRST, features) dt = Reshape(d0, sizes) d = ORDER(dt) y = Add(r, d)
}"""


@pytest.mark.parametrize("tokens_first", [True, False])
def test_an_axis_of_rows_and_tokens_is_what_it_was_made_of(tokens_first: bool) -> None:
    """[length · batch, …] has the sizes of [batch · length, …]; torch's MultiheadAttention makes it of either."""
    order, first = ("Transpose<perm = [1, 0, 2]>", "size, batch") if tokens_first else ("Identity", "batch, size")
    rest = ROWS_APART.replace("ORDER", order).replace("FIRST", first)
    before = encoder(rest)
    assert (PASS.measure(before) == 6) is not tokens_first
    after = packed(before)
    for batch, length in ((1, 1), (3, 9), (4, 21)):
        for feed in feeds(batch, length):
            real = feed["attention_mask"] > 0
            wanted, found = (graphs.run(model, feed)["y"][real] for model in (before, after))
            np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_heads_that_are_joined_without_being_turned_mix_tokens() -> None:
    """With padding an answer is of what stands there, so that it is compared without."""
    before = encoder(MLP, HEAD.replace("cj = Reshape(ct, joined)", "own = Shape(n) cj = Reshape(c, own)"))
    assert PASS.measure(before) < 6
    feed, after = feeds(3, 9)[0], packed(before)
    np.testing.assert_allclose(graphs.run(after, feed)["y"], graphs.run(before, feed)["y"], atol=2e-5)


def test_a_mask_whose_rows_have_another_name() -> None:
    """As torch names them where it reads the mask row by row; one of a single row is of all of them."""
    before = encoder(MLP, HEAD.replace("int64[batch,sequence] input_ids", "int64[rows,sequence] input_ids"))
    assert PASS.measure(before) == 6
    after = packed(before)
    for batch, length in ((1, 1), (3, 9)):
        agree(before, after, batch, length)
    feed = feeds(3, 9)[1]
    one = {**feed, "attention_mask": feed["attention_mask"][1:2]}
    real = np.broadcast_to(one["attention_mask"] > 0, (3, 9))
    wanted, found = (graphs.run(model, one)["y"][real] for model in (before, after))
    np.testing.assert_allclose(found, wanted, atol=2e-5)


SAYS = {
    "Greater": "none = Constant<value_int = 0>() limit = CastLike(none, attention_mask)",
    "Equal": "one = Constant<value_int = 1>() limit = CastLike(one, attention_mask)",
}


@pytest.mark.parametrize("kind", ["int64", "uint8", "int8", "float", "float16", "double"])
@pytest.mark.parametrize("says", SAYS)
def test_what_is_a_token_is_what_attention_says(says: str, kind: str) -> None:
    """Of any type: numbers below 0, or any but 1, are padding where attention hides them; row by row as well."""
    compared = f"wider = Cast<to = 1>(attention_mask) {SAYS[says].replace('attention_mask', 'wider')}"
    real = f"{compared} seen = {says}(wider, limit)"
    head = HEAD.replace("int64[batch,sequence] attention_mask", f"{kind}[batch,sequence] attention_mask")
    before = encoder(MLP, head.replace("seen = Cast<to = 9>(attention_mask)", real))
    after = before.clone()
    for step in (FuseAttention(), PASS, LoopGlobalAttention()):
        graph_pass.run(step, after)
    assert "Loop" in graphs.op_types(after), "the packing is read again"
    dtype = {"float": "float32", "double": "float64"}.get(kind, kind)
    numbers = np.array([[1, 1, 0, 1], [1, 2, 1, 0], [0, 1, 2, 1]])
    if dtype != "uint8":
        numbers[:, 3] = -1
    feed = {"input_ids": np.arange(12).reshape(3, 4), "attention_mask": numbers.astype(dtype)}
    wanted, found = (graphs.run(model, feed)["y"] for model in (before, after))
    shown = numbers > 0 if says == "Greater" else numbers == 1
    assert np.allclose(wanted[shown], found[shown], atol=2e-5) and not found[~shown].any()


CROSS = MLP.replace(
    "y = Add(r, d)\n}",
    """x2 = Add(r, d)
    qx0 = MatMul(other, wq) kx0 = MatMul(x2, wk) vx0 = MatMul(x2, wv)
    qx1 = Reshape(qx0, split) kx1 = Reshape(kx0, split) vx1 = Reshape(vx0, split)
    qx = Transpose<perm = [0, 2, 1, 3]>(qx1) kx = Transpose<perm = [0, 2, 3, 1]>(kx1)
    vx = Transpose<perm = [0, 2, 1, 3]>(vx1)
    sx0 = MatMul(qx, kx) sx = Add(sx0, mask) px = Softmax<axis = -1>(sx) cx = MatMul(px, vx)
    cxt = Transpose<perm = [0, 2, 1, 3]>(cx) cxj = Reshape(cxt, joined) o9 = MatMul(cxj, wo) y = Add(other, o9)
}""",
)


def test_an_encoder_beside_its_decoder() -> None:
    """What another input's tokens see of these hides padding as well; keys and values for them are of the stream."""
    head = HEAD.replace("attention_mask)", "attention_mask, float[batch,target,24] other)", 1)
    before = encoder(CROSS, head.replace("=> (float[batch,sequence,24] y)", "=> (float[batch,target,24] y)"))
    after = before.clone()
    for step in (FuseAttention(), PASS, LoopGlobalAttention()):
        graph_pass.run(step, after)
    assert "Loop" in graphs.op_types(after)
    graph_pass.run(FuseAttention(), fused := before.clone())
    assert PASS.measure(fused) == 8, "those of the decoder are of other tokens"
    for batch, length, target in ((1, 1, 3), (3, 9, 1), (4, 33, 7)):
        other = np.random.default_rng(target).normal(size=(batch, target, 24)).astype(np.float32)
        for feed in feeds(batch, length)[:-1]:  # a row without a token is a mean in one and NaN in none
            wanted, found = (graphs.run(model, {**feed, "other": other})["y"] for model in (before, after))
            assert np.allclose(wanted, found, atol=2e-5)


@pytest.mark.parametrize("other", ["Identity(other)", "Tanh(other)"])
@pytest.mark.parametrize("fuses", [True, False])
def test_tokens_of_another_input_under_one_name_are_none_of_these(other: str, fuses: bool) -> None:
    """Both lengths are called `sequence`, and nothing says where the other's padding is: none is left out."""
    head = HEAD.replace("attention_mask)", "attention_mask, float[batch,sequence,24] other)", 1)
    text = CROSS.replace("MatMul(other, wq)", "MatMul(theirs, wq)").replace("x2 = Add", f"theirs = {other} x2 = Add")
    before = encoder(text, head)
    after = before.clone()
    if fuses:
        graph_pass.run(FuseAttention(), after)
    assert PASS.measure(after) == 8, "keys and values of theirs are of the stream, queries and results are not"
    graph_pass.run(PASS, after)
    for batch, length in ((1, 1), (3, 9), (4, 33)):
        theirs = np.random.default_rng(length).normal(size=(batch, length, 24)).astype(np.float32)
        for feed in feeds(batch, length)[:-1]:
            wanted, found = (graphs.run(model, {**feed, "other": theirs})["y"] for model in (before, after))
            assert np.allclose(wanted, found, atol=2e-5)


def test_tokens_beside_their_neighbours_are_put_together_before_all_else() -> None:
    """A MobileBERT joins each embedding with those before and behind, and zeros at the ends: of the batch with its
    padding, and all that follows of real tokens alone."""
    head = HEAD.replace("    e = Add(e0, here)\n", """
    e1 = Add(e0, here) zeroth = Constant<value_ints = [0]>() all_but = Constant<value_ints = [-1]>()
    far = Constant<value_ints = [9999]>() one = Constant<value_ints = [1]>()
    later = Slice(e1, one, far, one) sooner = Slice(e1, zeroth, all_but, one)
    behind = Constant<value_ints = [0, 0, 0, 0, 1, 0]>() before = Constant<value_ints = [0, 1, 0, 0, 0, 0]>()
    l = Pad(later, behind) f = Pad(sooner, before) three = Concat<axis = -1>(l, e1, f) e = MatMul(three, thrice_wide)
""")  # fmt: skip
    before = encoder(MLP, head, thrice_wide=RNG.normal(0, 0.2, (72, 24)))
    after = before.clone()
    graph_pass.run(FuseAttention(), after)
    assert "Softmax" not in graphs.op_types(after)
    assert graph_pass.run(PASS, after).notes[0].startswith("7 of 7 products")
    agree(before, after, 3, 9)

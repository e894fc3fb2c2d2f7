"""Pooling and heads that mask padding themselves, by any arithmetic of the mask, and those that only seem to."""

from __future__ import annotations

import graphs
import numpy as np
import pytest
from encoder_graphs import HEAD, MLP, WEIGHTS, agree, encoder, feeds

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.pack_tokens import PackTokens

PASS = PackTokens()
ALL = 6  # products with weights of the encoder
FLAGS = """z = Add(r, d) two = Constant<value_ints = [2]>() first = Constant<value_int = 0>()
    low = Constant<value_float = -1e9>() high = Constant<value_float = 1e9>() nought = Constant<value_float = 0.0>()
    real = Cast<to = 1>(attention_mask) gone = Equal(attention_mask, first) shown = Not(gone)
    gone3 = Unsqueeze(gone, two) shown3 = Unsqueeze(shown, two) real3 = Unsqueeze(real, two)
"""
PLACES = """step = Constant<value_int = 1>() length = Squeeze(size) place = Range(first, length, step)
    one = Constant<value_float = 1.0>() numbers0 = Cast<to = 1>(place) numbers = Add(numbers0, one)
"""
SCORED = "score0 = ReduceMean<keepdims = 0>(z, two) "
MASKED = {
    "a maximum of what is not hidden": "h9 = Where(gone3, low, z) y = ReduceMax<keepdims = 0>(h9, ends)",
    "chosen the other way round": "h9 = Where(shown3, z, low) y = ReduceMax<keepdims = 0>(h9, ends)",
    "a maximum beside what is added": "less = Sub(real3, one3) far = Mul(less, high) h9 = Add(z, far) "
    "y = ReduceMax<keepdims = 0>(h9, ends)",
    "a sum of what is chosen": "h9 = Where(gone3, nought, z) y = ReduceSum<keepdims = 0>(h9, ends)",
    "a mask that is compared": "over = Greater(real, nought) f9 = Cast<to = 1>(over) f3 = Unsqueeze(f9, two) "
    "h9 = Mul(z, f3) y = ReduceSum<keepdims = 0>(h9, ends)",
    "weights by place": PLACES + "w9 = Mul(numbers, real) w3 = Unsqueeze(w9, two) h9 = Mul(z, w3) "
    "y = ReduceSum<keepdims = 0>(h9, ends)",
    "behind what keeps zero": "h0 = Mul(z, real3) h1 = Relu(h0) h2 = Add(h1, one3) h9 = Log(h2) "
    "y = ReduceMax<keepdims = 0>(h9, ends)",
    "a product with the mask": "real1 = Unsqueeze(real, ends) h9 = MatMul(real1, z) y = Squeeze(h9, ends)",
    "weights of a Softmax": SCORED + "s9 = Where(gone, low, score0) p9 = Softmax<axis = 1>(s9) "
    "p3 = Unsqueeze(p9, two) h9 = Mul(p3, z) y = ReduceSum<keepdims = 0>(h9, ends)",
    "weights of a Softmax as a product": SCORED + "s8 = Sub(one3, real) far = Mul(s8, low) s9 = Add(score0, far) "
    "p9 = Softmax<axis = 1>(s9) p3 = Unsqueeze(p9, ends) h9 = MatMul(p3, z) y = Squeeze(h9, ends)",
}
NOTHING = {
    "a sum up to each token": "h9 = Mul(z, real3) c9 = CumSum(h9, step) y = ReduceMax<keepdims = 0>(c9, ends)",
    "a token's neighbours": "h9 = Where(gone3, nought, z) t9 = Transpose<perm = [0, 2, 1]>(h9) "
    "c9 = Conv<pads = [1, 1]>(t9, kernel) y = ReduceMax<keepdims = 0>(c9, two)",
}
SEEMING = {
    "a maximum of all": "y = ReduceMax<keepdims = 0>(z, ends)",
    "hidden where it is real": "h9 = Where(shown3, low, z) y = ReduceMax<keepdims = 0>(h9, ends)",
    "a mask that is nowhere zero": "f3 = Add(real3, one3) h9 = Mul(z, f3) y = ReduceSum<keepdims = 0>(h9, ends)",
    "a number that scores reach": "less = Sub(real3, one3) h9 = Add(z, less) y = ReduceMax<keepdims = 0>(h9, ends)",
    "weights that add up to more": SCORED + "p9 = Softmax<axis = 1>(score0) p3 = Unsqueeze(p9, two) h9 = Mul(p3, z) "
    "y = ReduceSum<keepdims = 0>(h9, ends)",
    "a mean beside what is hidden": "h9 = Where(gone3, low, z) y9 = ReduceMax<keepdims = 0>(h9, ends) "
    "y8 = ReduceMean<keepdims = 0>(z, ends) y = Add(y8, y9)",
    "a sum of what is far down": "less = Sub(real3, one3) far = Mul(less, high) h9 = Add(z, far) "
    "y = ReduceMean<keepdims = 0>(h9, ends)",
}


def pooling(text: str, **more: np.ndarray) -> Model:
    rest = MLP.replace("y = Add(r, d)", FLAGS + text)
    return encoder(rest, HEAD.replace("float[batch,sequence,24] y", "float[batch,24] y"), one3=np.ones(1), **more)


def check(before: Model, kinds: tuple[str, ...]) -> None:
    after = before.clone()
    graph_pass.run(PASS, after)
    for batch, length in ((1, 1), (3, 9), (5, 33)):
        for kind, feed in zip(("full", "right", "left", "holes", "empty row"), feeds(batch, length), strict=True):
            if kind in kinds:
                wanted, found = graphs.run(before, feed)["y"], graphs.run(after, feed)["y"]
                np.testing.assert_allclose(found, wanted, atol=3e-5, rtol=2e-5, err_msg=kind)


@pytest.mark.parametrize("kind", MASKED)
def test_what_masks_padding_itself_reads_none(kind: str) -> None:
    before = pooling(MASKED[kind])
    assert PASS.measure(before) == ALL
    check(before, ("full", "right", "left", "holes"))


@pytest.mark.parametrize("kind", NOTHING)
def test_what_is_zero_at_padding_already_may_be_read_by_anybody(kind: str) -> None:
    """A kernel of three tokens or a running sum reads zeros there in both graphs; unmasked it reads padding."""
    text = "step = Constant<value_int = 1>() " + NOTHING[kind]
    kernel = np.random.default_rng(2).normal(size=(24, 24, 3))
    before = pooling(text, kernel=kernel)
    assert PASS.measure(before) == ALL
    check(before, ("full", "right", "left", "holes"))
    bare = text.replace("h9 = Mul(z, real3)", "h9 = Identity(z)").replace(
        "h9 = Where(gone3, nought, z)", "h9 = Identity(z)"
    )
    assert PASS.measure(pooling(bare, kernel=kernel)) < ALL


@pytest.mark.parametrize("kind", SEEMING)
def test_what_only_seems_to_is_not_packed(kind: str) -> None:
    before = pooling(SEEMING[kind])
    assert PASS.measure(before) < ALL
    check(before, ("full", "right", "left", "holes", "empty row"))


SPANS = {
    "s9 = Where(gone, low, score0)": True,
    "own = ReduceMax<keepdims = 0>(z, two) s9 = Where(gone, own, score0)": False,
}


@pytest.mark.parametrize("filled", SPANS)
def test_scores_of_places_in_the_text(filled: str) -> None:
    """Of all tokens one: what is filled in is read where a token is hidden, and must be no token's own."""
    head = HEAD.replace("float[batch,sequence,24] y", "float[batch,sequence] y")
    rest = MLP.replace("y = Add(r, d)", f"{FLAGS} {SCORED} {filled} y = Softmax(s9)")
    before = encoder(rest, head, one3=np.ones(1))
    assert (PASS.measure(before) == ALL) is SPANS[filled]
    check(before, ("full", "right", "left", "holes"))


@pytest.mark.parametrize(
    "filled", ["y = Where(gone, low, score0)", "far0 = Sub(one3, real) far = Mul(far0, low) y = Add(score0, far)"]
)
def test_scores_that_say_where_padding_is_say_so_still(filled: str) -> None:
    """Whoever takes the largest of them over a text must not be given a zero for padding."""
    head = HEAD.replace("float[batch,sequence,24] y", "float[batch,sequence] y")
    before = encoder(MLP.replace("y = Add(r, d)", f"{FLAGS} {SCORED} {filled}"), head, one3=np.ones(1))
    assert PASS.measure(before) == ALL
    check(before, ("full", "right", "left", "holes", "empty row"))


MASK = HEAD[HEAD.index("    seen = Cast") : HEAD.index("    s0 = MatMul")]
SHARED = """    real0 = Cast<to = 1>(attention_mask) less0 = Sub(one1, real0)
    wide = Unsqueeze(less0, around) mask = Mul(wide, lowest)
"""
KEYS = """    real0 = Cast<to = 1>(attention_mask) less0 = Sub(one1, real0) two0 = Constant<value_ints = [2]>()
    less3 = Unsqueeze(less0, two0) low3 = Mul(less3, lowest) key3 = MatMul(n, wkey) both3 = Add(key3, low3)
    wide = Transpose<perm = [0, 2, 1]>(both3) mask = Unsqueeze(wide, ends)
"""
HIDES = {
    "a cast that pooling reads as well": (SHARED, "real9 = Unsqueeze(real0, two) h9 = Mul(z, real9)"),
    "what is turned round that pooling reads as well": (SHARED, "less9 = Unsqueeze(less0, two) f9 = Sub(one3, less9) "
                                                        "h9 = Mul(z, f9)"),
    "a number of each key beside the mask": (KEYS, "h9 = Mul(z, real3)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HIDES)
def test_what_hides_padding_is_there_for_all_tokens(kind: str) -> None:
    """A mask that is computed of real tokens alone is zero elsewhere, and hides nothing."""
    mask, pooled = HIDES[kind]
    rest = MLP.replace("y = Add(r, d)", f"{FLAGS} {pooled} y = ReduceSum<keepdims = 0>(h9, ends)")
    head = HEAD.replace("float[batch,sequence,24] y", "float[batch,24] y").replace(MASK, mask)
    wkey = np.random.default_rng(5).normal(size=(24, 1))
    before = encoder(rest, head, one1=np.ones(1), one3=np.ones(1), wkey=wkey)
    assert PASS.measure(before) >= ALL
    check(before, ("full", "right", "left", "holes"))


WEIGHED = {
    "what each is attended by": "a9 = ReduceSum<keepdims = 0>(p, queries)",
    "the same by a product": "t9 = Transpose<perm = [0, 1, 3, 2]>(p) v9 = ReduceMax<keepdims = 1>(v, width) "
    "m9 = MatMul(t9, v9) a9 = Squeeze(m9, width)",
    "neighbours of what attention makes": "t9 = Transpose<perm = [0, 1, 3, 2]>(c) "
    "m9 = ReduceMean<keepdims = 0>(t9, width) a9 = ReduceMax<keepdims = 0>(m9, queries)",
}


@pytest.mark.parametrize("kind", WEIGHED)
def test_who_reads_several_rows_of_weights_reads_padding(kind: str) -> None:
    axes = "queries = Constant<value_ints = [2]>() width = Constant<value_ints = [3]>()"
    head = HEAD.replace("24] y)", "24] y, float a9)")
    proto = encoder(MLP.replace("y = Add(r, d)", f"y = Add(r, d) {axes} {WEIGHED[kind]}"), head)
    assert PASS.measure(proto) < ALL
    kept = encoder(MLP.replace("y = Add(r, d)", f"y = Add(r, d) {axes} a9 = ReduceMean<keepdims = 0>(p, ends)"), head)
    assert PASS.measure(kept) == ALL  # of each row alone, heads together


SCORES = "s = Add(s0, mask)"
MIXED = {
    "a convolution over scores": (SCORES, "s1 = Conv<pads = [1, 1, 1, 1]>(s0, over) s = Add(s1, mask)"),
    "scores of other keys": (SCORES, "s1 = Transpose<perm = [0, 1, 3, 2]>(s0) s2 = MatMul(s0, s1) s = Add(s2, mask)"),
    "values of other keys": ("c = MatMul(p, v)", "p1 = Conv<pads = [1, 1, 1, 1]>(p, over) c = MatMul(p1, v)"),
    "what each is attended by, times values": ("c = MatMul(p, v)", "p1 = Transpose<perm = [0, 1, 3, 2]>(p) "
                                               "c = MatMul(p1, v)"),
    "a floor under weights": ("c = MatMul(p, v)", "p1 = Clip(p, tenth) c = MatMul(p1, v)"),
    "a share of every key": ("c = MatMul(p, v)", "p1 = Add(p, tenth) c = MatMul(p1, v)"),
    "what is left of one": ("c = MatMul(p, v)", "p1 = Sub(tenth, p) c = MatMul(p1, v)"),
    "weights as an exponent": ("c = MatMul(p, v)", "p1 = Exp(p) c = MatMul(p1, v)"),
    "the mean where there is none": ("c = MatMul(p, v)", "n1 = Greater(p, tenth) p1 = Where(n1, p, tenth) "
                                     "c = MatMul(p1, v)"),
    "less the mean of rows": ("c = MatMul(p, v)", "p1 = ReduceMean<keepdims = 1>(p, begin) p2 = Sub(p, p1) "
                              "c = MatMul(p2, v)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MIXED)
def test_what_mixes_scores_or_weights_reads_padding(kind: str) -> None:
    over = np.random.default_rng(3).normal(size=(3, 3, 3, 3))
    plain = encoder(MLP, HEAD)
    mixed = encoder(MLP, HEAD.replace(*MIXED[kind]), over=over, tenth=np.array(0.1))
    assert PASS.measure(plain) == ALL > PASS.measure(mixed)
    check(mixed, ("full",))


KEPT = {
    "squares": "p1 = Mul(p, p)",
    "a power": "p1 = Pow(p, tenth)",
    "a floor of zero": "p1 = Clip(p, zero)",
    "a ceiling": "p1 = Clip(p, , tenth)",
    "where it is much": "n1 = Greater(p, tenth) p1 = Where(n1, p, zero)",
    "no number": "n1 = IsNaN(p) p1 = Where(n1, zero, p)",
}


@pytest.mark.parametrize("kind", KEPT)
def test_what_has_no_weight_stays_without(kind: str) -> None:
    made = encoder(MLP, HEAD.replace("c = MatMul(p, v)", f"{KEPT[kind]} c = MatMul(p1, v)"), tenth=np.array(0.1))
    assert PASS.measure(made) == ALL
    after = made.clone()
    graph_pass.run(PASS, after)
    agree(made, after, 3, 9)


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, 1e18])
def test_a_row_says_nothing_of_another(spoilt: float) -> None:
    """What a row makes of numbers that no mask hides stays in it, wherever the padding of the next one is."""
    table = np.array(WEIGHTS["table"])
    table[7, 0] = spoilt
    before = encoder(MLP, HEAD, table=table)
    after = before.clone()
    graph_pass.run(PASS, after)
    ids = np.where(np.arange(12).reshape(3, 4) < 4, 7, 5).astype(np.int64)
    mask = np.array([[1, 1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 0]])
    wanted, found = (graphs.run(m, {"input_ids": ids, "attention_mask": mask})["y"] for m in (before, after))
    real = mask[1:] > 0
    assert np.isfinite(wanted[1:][real]).all()
    np.testing.assert_allclose(found[1:][real], wanted[1:][real], atol=3e-5, rtol=2e-5)

"""Attention of packed tokens is computed of one row after the other, whatever is padding and however many rows are."""

from __future__ import annotations

import graphs
import numpy as np
import pytest
from encoder_graphs import (
    GROUPED,
    HEAD,
    HEADS,
    MLP,
    RELATIVE,
    SHAPES,
    SIZED,
    WEIGHTS,
    WIDTH,
    agree,
    encoder,
    feeds,
    seeing,
)

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.fuse_attention import FuseAttention
from onnxfix.surgery.passes.loop_global_attention import LoopGlobalAttention
from onnxfix.surgery.passes.pack_tokens import PackTokens

PASS = LoopGlobalAttention()


def packed(model: Model, opset: int = 20) -> Model:
    after = model.clone()
    after.ir.opset_imports[""] = opset
    for each in (FuseAttention(), PackTokens()):
        graph_pass.run(each, after)
    return after


def BAD() -> Model:
    return packed(encoder())


def SOUND() -> Model:
    """Rows with their padding."""
    model = encoder()
    graph_pass.run(FuseAttention(), model)
    return model


@pytest.mark.parametrize("opset", [20, 23])
@pytest.mark.parametrize("kind", ["all", "those before"])
def test_every_real_token_sees_what_it_saw(kind: str, opset: int) -> None:
    """At the left, at the right and between tokens of padding, and where a row has none."""
    before = encoder() if kind == "all" else seeing(kind)
    after = packed(before, opset)
    assert PASS.measure(after) == (1 if kind == "all" else 2)
    graph_pass.run(PASS, after)
    assert PASS.measure(after) == 0 and "Loop" in graphs.op_types(after)
    for batch, length in ((1, 1), (3, 9), (5, 33)):
        agree(before, after, batch, length)


REST = """top = Constant<value_int = 1>() rest = Sub(top, attention_mask) gone = Cast<to = 9>(rest)
    seen = Not(gone)"""


@pytest.mark.parametrize("made", [REST, "top = Constant<value_int = 1>() seen = Equal(attention_mask, top)"])
def test_numbers_that_are_padding_as_0_is(made: str) -> None:
    """A key of number 2 is hidden where 1 - mask becomes a bool."""
    before = encoder(head=HEAD.replace("seen = Cast<to = 9>(attention_mask)", made))
    after = packed(before)
    assert PASS.measure(after) == 1
    graph_pass.run(PASS, after)
    agree(before, after, 3, 9)
    for feed in feeds(3, 9):
        mask = feed["attention_mask"] * (1 + np.arange(9) % 3)
        wanted, found = (graphs.run(model, {**feed, "attention_mask": mask})["y"] for model in (before, after))
        assert np.allclose(wanted[mask == 1], found[mask == 1], atol=2e-5) and not found[mask != 1].any()


def test_numbers_that_tell_texts_apart() -> None:
    """Rows of several texts, whose tokens see those of their own and of the texts before."""
    text = """middle = Constant<value_ints = [1, 3]>() down0 = Unsqueeze(attention_mask, middle)
        across = Unsqueeze(attention_mask, around) ahead = Greater(across, down0) behind = Not(ahead)
        shown = Cast<to = 9>(across) wide = And(shown, behind)"""
    model = packed(encoder(head=HEAD.replace("wide = Unsqueeze(seen, around)", text)))
    assert PackTokens().measure(model) == PASS.measure(model) == 0 and "NonZero" not in graphs.op_types(model)


def test_a_limit_that_no_row_was_long_enough_for() -> None:
    """A distance over 1,024 that is compared in floats; rows as long were not tried, and attention stays of all."""
    text = """start = Constant<value_int = 0>() one = Constant<value_int = 1>() inner = Squeeze(size)
        place = Range(start, inner, one) down0 = Unsqueeze(place, ends) far0 = Sub(down0, place)
        far1 = Cast<to = 1>(far0) kilo = Constant<value_float = 1024.0>() most = Constant<value_float = 1.5>()
        share = Div(far1, kilo) near = LessOrEqual(share, most) wide0 = Unsqueeze(seen, around) wide = And(wide0, near)
    """  # fmt: skip
    texts = [text, text.replace("And(wide0, near)", "Identity(wide0)")]
    models = [packed(encoder(head=HEAD.replace("wide = Unsqueeze(seen, around)", each))) for each in texts]
    assert [PASS.measure(model) for model in models] == [0, 1] and all(
        "NonZero" in graphs.op_types(model) for model in models
    )


def test_rows_without_a_token() -> None:
    """The first, one in the middle, the last two, all of them; and a batch of no rows."""
    before, after = encoder(), BAD()
    graph_pass.run(PASS, after)
    feed = feeds(4, 9)[0]
    for kept in ([1, 3], [0, 2], [0, 1], [], [0, 1, 2, 3]):
        mask = feed["attention_mask"] * 0
        mask[kept] = feeds(4, 9)[1]["attention_mask"][kept]
        given = {**feed, "attention_mask": mask}
        wanted, found = graphs.run(before, given)["y"], graphs.run(after, given)["y"]
        assert abs(wanted - found)[mask > 0].max(initial=0) < 2e-5 and not found[mask == 0].any()


def test_attention_is_of_real_tokens_alone() -> None:
    after = BAD()
    graph_pass.run(PASS, after)
    loop = next(node for node in after.graph if node.op_type == "Loop")
    mixed = next(node for node in loop.attributes["body"].as_graph() if node.op_type == "MultiHeadAttention")
    assert sum(value is not None for value in mixed.inputs) == 3, "no mask"


def test_a_band_is_not_all_of_a_row() -> None:
    model = packed(seeing("a band"))
    assert PASS.measure(model) == 1, "the other layer"
    graph_pass.run(PASS, model)
    agree(seeing("a band"), model, 3, 9)


@pytest.mark.parametrize("head", [SIZED, GROUPED], ids=["a mask of sizes of what is packed", "keys of a group"])
def test_as_exporters_write_them(head: str) -> None:
    before = encoder("", head + MLP)
    after = packed(before)
    assert PASS.measure(after) == 1
    graph_pass.run(PASS, after)
    agree(before, after, 3, 9)


def test_scores_of_relative_positions_stay() -> None:
    """A mask says nothing of them, so that attention is computed with what is added; its linears are packed."""
    before = encoder("", RELATIVE + MLP)
    after = packed(before)
    assert PASS.measure(after) == 0 and PackTokens().measure(before) == 6
    assert "MultiHeadAttention" in graphs.op_types(after)
    agree(before, after, 3, 9)


@pytest.mark.parametrize("opset", [20, 23])
def test_values_of_another_width_than_keys(opset: int) -> None:
    """Heads of four numbers beside queries of eight, where a row has no token too."""
    narrow = HEAD.replace("MatMul(n, wv)", "MatMul(n, wvn)").replace("Reshape(v0, split)", "Reshape(v0, splitn)")
    narrow = narrow.replace("Reshape(ct, joined)", "Reshape(ct, joinedn)").replace("MatMul(cj, wo)", "MatMul(cj, won)")
    rng, heads = np.random.default_rng(4), np.array([0, 0, HEADS, 4])
    weights = {"wvn": rng.normal(size=(WIDTH, HEADS * 4)), "won": rng.normal(size=(HEADS * 4, WIDTH))}
    arrays = {name: array.astype(np.float32) for name, array in (WEIGHTS | weights).items()}
    before = graphs.model(narrow + MLP, arrays | SHAPES | {"splitn": heads, "joinedn": np.array([0, 0, HEADS * 4])})
    after = packed(before, opset)
    graph_pass.run(PASS, after)
    assert "Loop" in graphs.op_types(after)
    for batch, length in ((1, 1), (3, 9)):
        agree(before, after, batch, length)
    nobody = {name: array * 0 for name, array in feeds(2, 3)[0].items()}
    assert not graphs.run(after, nobody)["y"].any()

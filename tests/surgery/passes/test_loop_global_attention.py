"""Attention of packed tokens is computed of one row after the other, whatever is padding and however many rows are."""

from __future__ import annotations

import graphs
import pytest
from encoder_graphs import agree, encoder, feeds, seeing

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

"""Attention of packed tokens is told lengths of rows, whatever is padding: right where lengths alone would be wrong."""

from __future__ import annotations

import graphs
import numpy as np
import onnx_ir as ir
import pytest
from encoder_graphs import GROUPED, HEAD, MLP, RELATIVE, SIZED, agree, encoder, feeds, seeing

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.fuse_attention import FuseAttention
from onnxfix.surgery.passes.left_align_rows import LeftAlignRows
from onnxfix.surgery.passes.pack_tokens import PackTokens

PASS = LeftAlignRows()
GEMM = HEAD.replace("cj = Reshape(ct, joined)\n    o = MatMul(cj, wo)", """
    flat = Constant<value_ints = [-1, 24]>() cj = Reshape(ct, flat) og = Gemm(cj, wo, scale)
    batches = Shape<start = 0, end = 2>(e0) widest = Constant<value_ints = [24]>()
    whole = Concat<axis = 0>(batches, widest) o = Reshape(og, whole)""")  # fmt: skip


def packed(model: Model, opset: int = 24) -> Model:
    after = model.clone()
    after.ir.opset_imports[""] = opset
    for each in (FuseAttention(), PackTokens()):
        graph_pass.run(each, after)
    return after


def BAD() -> Model:
    return packed(encoder())


def SOUND() -> Model:
    """Rows with their padding, of which a length says nothing where it stands at the left."""
    model = encoder()
    model.ir.opset_imports[""] = 24
    graph_pass.run(FuseAttention(), model)
    return model


def attentions(model: Model) -> list[list[str]]:
    """Names of what each reads."""
    return [[str(v.name) if v is not None else "" for v in n.inputs] for n in model.graph if n.op_type == "Attention"]


@pytest.mark.parametrize("kind", ["all", "those before"])
def test_every_real_token_sees_what_it_saw(kind: str) -> None:
    """At the left, at the right and between tokens of padding, and where a row has none."""
    before = encoder() if kind == "all" else seeing(kind)
    after = packed(before)
    assert PASS.measure(after) == (1 if kind == "all" else 2)
    graph_pass.run(PASS, after)
    assert PASS.measure(after) == 0 and "CumSum" in graphs.op_types(after)
    for batch, length in ((1, 1), (3, 9), (5, 33)):
        agree(before, after, batch, length)


def test_rows_without_a_token() -> None:
    """The first, one in the middle, the last two, all of them."""
    before, after = encoder(), BAD()
    graph_pass.run(PASS, after)
    feed = feeds(4, 9)[0]
    for kept in ([1, 3], [0, 2], [0, 1], [], [0, 1, 2, 3]):
        mask = feed["attention_mask"] * 0
        mask[kept] = feeds(4, 9)[1]["attention_mask"][kept]
        given = {**feed, "attention_mask": mask}
        wanted, found = graphs.run(before, given)["y"], graphs.run(after, given)["y"]
        assert abs(wanted - found)[mask > 0].max(initial=0) < 2e-5 and not found[mask == 0].any()


def test_no_mask_is_left_and_causal_attention_needs_no_lengths() -> None:
    after = packed(seeing("those before"))
    graph_pass.run(PASS, after)
    first, second = attentions(after)
    assert first[3:6] == ["", "", ""] and "length" in first[6], "all that is real in the row"
    assert len(second) == 3
    causal = [n.attributes["is_causal"].as_int() for n in after.graph if "is_causal" in n.attributes]
    assert causal == [1]


def test_lengths_of_rows_in_their_places_would_be_wrong() -> None:
    """What the gathering is for: a length hides the last tokens of a row, and the padding here comes first."""
    mask = np.array([[0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    feed = {"input_ids": np.arange(12).reshape(2, 6), "attention_mask": mask}
    wanted = graphs.run(encoder(), feed)["y"][mask > 0]
    straight, aligned = BAD(), BAD()
    node = next(node for node in straight.graph if node.op_type == "Attention")
    lengths = ir.Value(name="lengths", const_value=ir.tensor(mask.sum(1)))
    straight.graph.register_initializer(lengths)
    node.resize_inputs(7)
    node.replace_input_with(3, None)
    node.replace_input_with(6, lengths)
    graph_pass.run(PASS, aligned)
    assert np.allclose(graphs.run(aligned, feed)["y"][mask > 0], wanted, atol=2e-5)
    assert not np.allclose(graphs.run(straight, feed)["y"][mask > 0], wanted, atol=1e-2)


@pytest.mark.parametrize("head", [SIZED, GROUPED], ids=["a mask of sizes of what is packed", "keys of a group"])
def test_as_exporters_write_them(head: str) -> None:
    before = encoder("", head + MLP)
    after = packed(before)
    graph_pass.run(PASS, after)
    assert PASS.measure(after) == 0
    agree(before, after, 3, 9)


def test_a_result_that_is_flattened_to_rows() -> None:
    """As the dynamo exporter writes a GPT-2, whose linears are Gemms."""
    before = encoder("", GEMM + MLP)
    after = packed(before)
    assert "Flatten" in graphs.op_types(after) and PASS.measure(after) == 1
    graph_pass.run(PASS, after)
    agree(before, after, 3, 9)


@pytest.mark.parametrize("opset", [20, 23])
def test_older_operator_sets_have_no_lengths(opset: int) -> None:
    assert PASS.measure(packed(encoder(), opset)) == 0


def test_what_is_more_than_padding_stays() -> None:
    """A band, and scores of relative positions."""
    assert PASS.measure(packed(seeing("a band"))) == 1, "the other layer"
    assert PASS.measure(packed(encoder("", RELATIVE + MLP))) == 0

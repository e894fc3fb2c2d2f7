"""Packed inputs: every output is what it is of the batch that the tokens are of, whatever computes attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import graphs
import numpy as np
import onnx_ir as ir
import pytest
from encoder_graphs import GROUPED, HEAD, MLP, RELATIVE, WORDS, encoder, masks, seeing

from onnxfix.eval.run.packed_runner import Packer, is_from_the_left, where
from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.graph_pass import Pass
from onnxfix.surgery.passes.band_local_attention import BandLocalAttention
from onnxfix.surgery.passes.fuse_attention import FuseAttention
from onnxfix.surgery.passes.left_align_rows import LeftAlignRows
from onnxfix.surgery.passes.loop_global_attention import LoopGlobalAttention
from onnxfix.surgery.passes.pack_tokens import PackTokens
from onnxfix.surgery.passes.take_packed_tokens import TakePackedTokens, why_not
from onnxfix.surgery.sites.tokens.packed import interface

PASS = TakePackedTokens()
RNG = np.random.default_rng(3)
MASK = "attention_mask"
POOLED = """
    m = LayerNormalization<axis = -1>(r, scale)
    h = MatMul(m, up) a = Relu(h) d = MatMul(a, down)
    y = Add(r, d)
    none = Constant<value_int = 0>() first = Gather<axis = 1>(y, none) pooled = MatMul(first, up)
}"""
WITH_POOLED = HEAD.replace("y) {", "y, float[batch,40] pooled) {")


def packed(model: Model, *more: Pass, opset: int = 20) -> Model:
    after = model.clone()
    after.ir.opset_imports[""] = opset
    for each in (FuseAttention(), PackTokens(), *more):
        graph_pass.run(each, after)
    return after


def BAD() -> Model:
    return packed(encoder())


def SOUND() -> Model:
    """Padding that is computed: rows are all there is."""
    return encoder()


def FED(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    real = arrays[MASK] != 0
    return {"input_ids": arrays["input_ids"][real], **where(real)}


def taken(model: Model) -> Packer:
    """What runs a model, which is given packed inputs first."""
    outcome = graph_pass.run(PASS, model)
    found = interface.find(model)
    assert found is not None and outcome.notes and PASS.measure(model) == 0
    return Packer(found, MASK, "model")


def agree(before: Model, after: Model, more: Callable[[int, int], Mapping[str, Any]] = lambda *_: {}) -> None:
    """Of rows of several lengths, one without a token, and batches of one row and of one token."""
    packer = taken(after)
    for batch, length in ((1, 1), (3, 9), (5, 33), (2, 200)):
        ids = RNG.integers(1, WORDS, (batch, length))
        for name, mask in masks(batch, length).items():
            if name not in ("full", "right", "empty row"):
                continue
            kind = before.graph.inputs[1].dtype
            assert kind is not None
            feed = {"input_ids": ids, MASK: mask.astype(kind.numpy()), **more(batch, length)}
            real = packer.real(feed)
            found = packer.of_rows(graphs.run(after, packer.packed(feed, real)), real)
            for output, wanted in graphs.run(before, feed).items():
                assert found[output].shape == wanted.shape
                shown = real if found[output].ndim == 3 else real.any(axis=1)
                np.testing.assert_allclose(found[output][shown], wanted[shown], atol=2e-5)


SOURCES = {
    "all": encoder,
    "a band": lambda: seeing("a band"),
    "those before": lambda: seeing("those before"),
    "keys of a group": lambda: encoder("", GROUPED + MLP),
    "relative positions": lambda: encoder("", RELATIVE + MLP),
    "pooled": lambda: encoder(POOLED, WITH_POOLED),
}
WAYS: dict[str, tuple[tuple[Pass, ...], int]] = {
    "rows": ((), 20),
    "blocks": ((BandLocalAttention(max_seq=4096),), 20),
    "either": ((BandLocalAttention(max_seq=4096, either=True),), 20),
    "one by one": ((LoopGlobalAttention(),), 20),
    "by lengths": ((LeftAlignRows(),), 24),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", SOURCES)
def test_outputs_are_those_of_the_batch(kind: str, way: str) -> None:
    steps, opset = WAYS[way]
    before = SOURCES[kind]()
    agree(before, packed(before, *steps, opset=opset))


def test_what_it_takes_and_gives() -> None:
    model = packed(encoder(POOLED, WITH_POOLED))
    assert PASS.measure(model) == 2
    found = taken(model).interface
    assert found.inputs == ("input_ids",) and found.outputs == ("y",)
    given = {str(v.name): (v.dtype, str(v.shape)) for v in (*model.graph.inputs, *model.graph.outputs)}
    assert given == {
        "input_ids": (ir.DataType.INT64, "[packed_tokens]"),
        "cu_seqlens": (ir.DataType.INT32, "[rows_and_one]"),
        "token_offset": (ir.DataType.INT32, "[batch,sequence]"),
        "y": (ir.DataType.FLOAT, "[packed_tokens,24]"),
        "pooled": (ir.DataType.FLOAT, "[batch,40]"),
    }
    assert "NonZero" not in graphs.op_types(model), "which a device waits for"


@pytest.mark.parametrize("kind", ["float", "bool", "int32"])
def test_a_mask_of_any_type(kind: str) -> None:
    before = encoder("", HEAD.replace("int64[batch,sequence] attention_mask", f"{kind}[batch,sequence] {MASK}") + MLP)
    agree(before, packed(before))


def test_features_and_further_numbers_of_tokens() -> None:
    """Embeddings in the place of ids, and segments beside them."""
    head = HEAD.replace(f"int64[batch,sequence] {MASK})", f"int64[batch,sequence] {MASK}, "
                        "int64[batch,sequence] token_type_ids, float[batch,sequence,24] visual)")  # fmt: skip
    head = head.replace("e = Add(e0, here)", "e1 = Add(e0, here) et = Gather(table, token_type_ids) "
                        "e2 = Add(e1, et) e = Add(e2, visual)")  # fmt: skip
    before = encoder(MLP, head)

    def more(batch: int, length: int) -> dict[str, np.ndarray]:
        segments = RNG.integers(0, 2, (batch, length))
        return {"token_type_ids": segments, "visual": RNG.normal(size=(batch, length, 24)).astype(np.float32)}

    after = packed(before)
    agree(before, after, more)
    found = interface.find(after)
    assert found is not None and found.inputs == ("input_ids", "token_type_ids", "visual")


def test_ids_that_the_graph_looks_at_for_padding() -> None:
    """RoBERTa counts the tokens that are no padding, by their ids: behind a row stand such of padding."""
    head = HEAD.replace("    here = Slice(places, begin, size, begin)\n", """
    pad = Constant<value_int = 7>() is_pad = Equal(input_ids, pad) is_no = Not(is_pad) one0 = Cast<to = 7>(is_no)
    along = Constant<value_int = 1>() counted = CumSum(one0, along)
    most = ReduceMax<keepdims = 1>(counted, ends) place0 = Sub(most, counted) here = Gather(places, place0)
""")  # fmt: skip
    before = encoder(MLP, head)
    after = packed(before)
    packer = taken(after)
    ids = RNG.integers(8, WORDS, (3, 9))
    mask = masks(3, 9)["right"]
    feed = {"input_ids": np.where(mask != 0, ids, 7), MASK: mask}
    real = packer.real(feed)
    found = packer.of_rows(graphs.run(after, packer.packed(feed, real)), real)["y"]
    np.testing.assert_allclose(found[real], graphs.run(before, feed)["y"][real], atol=2e-5)


def test_what_the_mask_says_nothing_of_stays_a_batch() -> None:
    """A decoder beside its encoder, whose lengths have one name: all of its tokens are there and read them."""
    cross = MLP.replace("y = Add(r, d)\n}", """x2 = Add(r, d) theirs = Gather(table, decoder_ids)
    qx0 = MatMul(theirs, wq) kx0 = MatMul(x2, wk) vx0 = MatMul(x2, wv)
    qx1 = Reshape(qx0, split) kx1 = Reshape(kx0, split) vx1 = Reshape(vx0, split)
    qx = Transpose<perm = [0, 2, 1, 3]>(qx1) kx = Transpose<perm = [0, 2, 3, 1]>(kx1)
    vx = Transpose<perm = [0, 2, 1, 3]>(vx1)
    sx0 = MatMul(qx, kx) sx = Add(sx0, mask) px = Softmax<axis = -1>(sx) cx = MatMul(px, vx)
    cxt = Transpose<perm = [0, 2, 1, 3]>(cx) cxj = Reshape(cxt, joined) o9 = MatMul(cxj, wo) y = Add(theirs, o9)
}""")  # fmt: skip
    head = HEAD.replace(f"{MASK})", f"{MASK}, int64[batch,sequence] decoder_ids)", 1)
    before = encoder("", head + cross)
    after = packed(before)
    packer = taken(after)
    assert packer.interface.inputs == ("input_ids",) and packer.interface.outputs == ()
    for batch, length in ((1, 1), (3, 9), (4, 33)):
        ids, theirs = RNG.integers(1, WORDS, (2, batch, length))
        feed = {"input_ids": ids, MASK: masks(batch, length)["right"], "decoder_ids": theirs}
        real = packer.real(feed)
        found = packer.of_rows(graphs.run(after, packer.packed(feed, real)), real)["y"]
        np.testing.assert_allclose(found, graphs.run(before, feed)["y"], atol=2e-5)


def test_why_a_model_is_left_alone() -> None:
    head = HEAD.replace("y) {", "y, int64[batch] counted) {")
    head = head.replace("e0 = Gather", "counted = ReduceSum<keepdims = 0>(input_ids, ends) e0 = Gather")
    model = packed(encoder("", head + MLP))
    assert why_not(model) == "counted is made of input_ids at padding, too" and not graph_pass.run(PASS, model).changes
    assert why_not(encoder()) == "no tokens are packed by an input [rows, length]"
    assert why_not(packed(encoder())) == ""


def test_names_that_are_taken() -> None:
    """By a value inside, which gets another, and by an input: that model is left alone."""
    inside = packed(encoder("", HEAD.replace("e0", "cu_seqlens") + MLP))
    agree(encoder(), inside)
    outside = packed(encoder("", HEAD.replace("input_ids", "token_offset") + MLP))
    assert not graph_pass.run(PASS, outside).changes


def test_an_input_of_one_row_stays_as_it_is() -> None:
    """Which all rows are given: nobody packs it."""
    head = HEAD.replace(f"int64[batch,sequence] {MASK})", f"int64[batch,sequence] {MASK}, float[1,sequence,24] bias)")
    before = encoder("", head.replace("e = Add(e0, here)", "e1 = Add(e0, here) e = Add(e1, bias)") + MLP)
    agree(before, packed(before), lambda _, length: {"bias": RNG.normal(size=(1, length, 24)).astype(np.float32)})


def test_rows_from_the_left_alone() -> None:
    assert is_from_the_left(np.array([[1, 1, 0], [0, 0, 0]]) > 0)
    assert not is_from_the_left(np.array([[0, 1, 1]]) > 0) and not is_from_the_left(np.array([[1, 0, 1]]) > 0)
    assert where(np.array([[1, 0], [1, 1]]) > 0)["token_offset"].tolist() == [[0, 2], [3, 1]]

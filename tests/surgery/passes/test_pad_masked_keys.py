"""Attention with a mask has a multiple of eight keys, the added ones hidden, and every token's answer is the same."""

from __future__ import annotations

import graphs
import numpy as np
import pytest
from encoder_graphs import MLP, RELATIVE, agree, encoder

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.fuse_attention import FuseAttention
from onnxfix.surgery.passes.pack_tokens import PackTokens
from onnxfix.surgery.passes.pad_masked_keys import PadMaskedKeys
from onnxfix.surgery.sites.attention import masked_keys

PASS = PadMaskedKeys()


def fused(model: Model, pack: bool = False) -> Model:
    model.ir.opset_imports[""] = 24
    graph_pass.run(FuseAttention(), model)
    if pack:
        graph_pass.run(PackTokens(clean_keys=False), model)
    return model


def BAD() -> Model:
    return fused(encoder("", RELATIVE + MLP))


def SOUND() -> Model:
    """Attention without a mask, and one whose keys are a multiple of four whatever the sequence is."""
    return graphs.model(
        """g (float[batch,sequence,16] x, float[16,16] bias) => (float[batch,sequence,16] y) {
        four = Constant<value_ints = [4]>() again = Concat<axis = 1>(x, x, x, x) places = Shape<start = 1, end = 2>(x)
        keys = Mul(places, four) axis = Constant<value_ints = [0]>() low = Constant<value_float = 0.0>()
        shape = Concat<axis = 0>(places, keys) mask = Expand(low, shape)
        plain = Attention<q_num_heads = 2, kv_num_heads = 2, scale = 0.3>(x, again, again)
        y = Attention<q_num_heads = 2, kv_num_heads = 2, scale = 0.3>(plain, again, again, mask) }""",
        opset=23,
    )


@pytest.mark.parametrize("pack", [False, True], ids=["rows with padding", "packed tokens"])
def test_every_real_token_keeps_its_answer(pack: bool) -> None:
    """At lengths that are a multiple already, and at all others."""
    before, after = encoder("", RELATIVE + MLP), fused(encoder("", RELATIVE + MLP), pack)
    assert PASS.measure(after) == 1
    graph_pass.run(PASS, after)
    assert PASS.measure(after) == 0
    for length in (1, 3, 7, 8, 9, 16, 33):
        if pack:
            agree(before, after, 3, length)
            continue
        ids = np.random.default_rng(length).integers(0, 50, (2, length))
        feed = {"input_ids": ids, "attention_mask": np.ones((2, length), np.int64)}
        assert np.allclose(graphs.run(before, feed)["y"], graphs.run(after, feed)["y"], atol=2e-5)


def test_keys_are_a_multiple_of_eight_then() -> None:
    after = BAD()
    graph_pass.run(PASS, after)
    node = next(node for node in after.graph if node.op_type == "Attention")
    tried = masked_keys.Tried(after.graph)
    assert tried.is_multiple(node.inputs[1], 1, 8) and not tried.is_multiple(node.inputs[0], 1, 2)
    assert tried.is_multiple(node.inputs[2], 1, 8) and tried.is_multiple(node.inputs[3], 3, 8)


def test_packed_tokens_are_gathered_once() -> None:
    """Places of tokens are longer, and no key is copied a second time."""
    after = fused(encoder("", RELATIVE + MLP), pack=True)
    graph_pass.run(PASS, after)
    node = next(node for node in after.graph if node.op_type == "Attention")
    made = [value.producer() for value in node.inputs[1:3] if value is not None]
    assert [n.op_type for n in made if n is not None] == ["Gather", "Gather"]
    assert len({n.inputs[1] for n in made if n is not None}) == 1


def test_a_multiple_at_one_length_is_none() -> None:
    """12 keys at 11 tokens are a multiple of four, 13 at 12 are none."""
    model = graphs.model("""g (float[batch,sequence,16] x, float[batch,1,16] first) => (float[batch,n,16] y) {
        y = Concat<axis = 1>(x, first) }""")
    (value,) = model.graph.outputs
    tried = masked_keys.Tried(model.graph)
    assert not tried.is_multiple(value, 1, 4) and tried.is_multiple(value, 2, 8)
    assert not tried.is_multiple(None, 1, 4)

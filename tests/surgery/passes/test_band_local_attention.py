"""Local attention of packed tokens is computed in blocks of the stream, whatever is padding and however long rows."""

from __future__ import annotations

import graphs
import numpy as np
import pytest
from encoder_graphs import RNG, SEES, WORDS, agree, encoder, feeds, seeing

from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.band_local_attention import BandLocalAttention
from onnxfix.surgery.passes.fuse_attention import FuseAttention
from onnxfix.surgery.passes.pack_tokens import PackTokens
from onnxfix.surgery.recipes import Wish, recipe

PASS = BandLocalAttention()
BANDS = [kind for kind in SEES if kind.startswith("a band")]


def packed(model: Model) -> Model:
    after = model.clone()
    for each in (FuseAttention(), PackTokens()):
        graph_pass.run(each, after)
    return after


def BAD() -> Model:
    return packed(seeing("a band"))


def SOUND() -> Model:
    """Every token sees all of its row."""
    return packed(encoder())


@pytest.mark.parametrize(("kind", "window"), [*((kind, 2) for kind in BANDS), ("a band", 19)])
def test_every_real_token_sees_what_it_saw(kind: str, window: int) -> None:
    """At the left, at the right and between tokens of padding, and where a row has none."""
    before, after = seeing(kind, window), packed(seeing(kind, window))
    graph_pass.run(PASS, after)
    assert PASS.measure(after) == 0
    for batch, length in ((1, 1), (3, 9), (2, 33), (4, 97), (1, 200)):
        agree(before, after, batch, length)


def test_scores_grow_with_tokens_and_not_with_their_square() -> None:
    after = BAD()
    assert graph_pass.run(PASS, after).changes
    biases = [node.inputs[5] for node in after.graph if node.op_type == "MultiHeadAttention"]
    biases[-1].name = "bias"
    after.graph.outputs.append(biases[-1])
    feed = feeds(1, 320)[0]
    assert graphs.run(after, feed)["bias"].shape == (10, 1, 32, 40), "320 tokens in blocks of 32"


@pytest.mark.parametrize("tokens", [0, 1, 31, 32, 33, 63, 64, 65])
def test_a_stream_of_any_length_is_cut_into_blocks(tokens: int) -> None:
    """As many as a block has, one more and one less; of no token at all."""
    before, after = seeing("a band"), BAD()
    graph_pass.run(PASS, after)
    mask = np.zeros((2, 65), np.int64)
    mask.reshape(-1)[:tokens] = 1
    feed = {"input_ids": RNG.integers(0, WORDS, mask.shape), "attention_mask": mask}
    wanted, found = (graphs.run(model, feed)["y"] for model in (before, after))
    assert np.allclose(wanted[mask > 0], found[mask > 0], atol=2e-5) and not found[mask == 0].any()


def test_for_whom_a_newer_operator_set_is_worth_it() -> None:
    """Written out, fused or packed; not where no band is, or none that is worth blocks."""
    fused = seeing("a band")
    graph_pass.run(FuseAttention(), fused)
    assert all(PASS.is_for(model) for model in (seeing("a band"), fused, BAD()))
    assert not PASS.is_for(encoder()) and not PASS.is_for(seeing("those before"))
    assert not BandLocalAttention(max_seq=72).is_for(seeing("a band"))


@pytest.mark.parametrize("window", [2, 19])
def test_rows_where_they_cost_less(window: int) -> None:
    """Chosen by each batch: 9 tokens a row are a row, 97 are blocks; what is compared is long enough for both."""
    before, after = seeing("a band", window), packed(seeing("a band", window))
    graph_pass.run(BandLocalAttention(either=True), after)
    choice = next(node for node in after.graph if node.op_type == "If")
    taken = choice.inputs[0]
    assert taken is not None
    for batch, length, blocks in ((3, 9, False), (2, 150, True)):
        agree(before, after, batch, length)
        shown = after.clone()
        value = next(v for node in shown.graph for v in node.outputs if v.name == taken.name)
        shown.graph.outputs.append(value)
        assert bool(graphs.run(shown, feeds(batch, length)[0])[str(taken.name)]) is blocks


def test_in_rows_only() -> None:
    """Where no batch of such a length shows what blocks compute."""
    each = BandLocalAttention(either=True)
    assert each.in_rows_only(seeing("a band", 400), 512) and not each.in_rows_only(seeing("a band", 400), 2000)
    assert not each.in_rows_only(seeing("a band", 64), 512) and each.in_rows_only(seeing("a band", 64), 100)
    assert not PASS.in_rows_only(seeing("a band", 400), 512), "where blocks are no choice"
    assert not BandLocalAttention(500, either=True).in_rows_only(seeing("a band", 400), 512), "nor made"


def test_rows_shorter_than_what_a_block_costs_stay_rows() -> None:
    assert BandLocalAttention(max_seq=72).measure(BAD()) == 0
    assert BandLocalAttention(max_seq=73).measure(BAD()) == 1, "1.8 times the 40 keys of a block"


def test_wide_bands_stay_rows_where_nobody_says_how_long_these_are() -> None:
    """But for those that may be either, on a CPU."""
    wide = packed(seeing("a band", 500))
    assert BandLocalAttention().measure(wide) == 0 and BandLocalAttention(max_seq=8192).measure(wide) == 1
    assert (
        BandLocalAttention(either=True).measure(wide) == 1 and BandLocalAttention(300, either=True).measure(wide) == 0
    )


def test_a_gpu_is_told_how_long_rows_are() -> None:
    wish = Wish(Target.resolve("cuda"), fuse=True, pack=True, bands=True, max_seq=300)
    steps = [step for step in recipe(wish, seeing("a band")).passes if isinstance(step, BandLocalAttention)]
    assert steps == [BandLocalAttention(300)]


def test_a_side_without_a_limit_is_no_band() -> None:
    assert PASS.measure(packed(seeing("those before"))) == 0


def test_without_packed_tokens_nothing_changes() -> None:
    model = seeing("a band")
    graph_pass.run(FuseAttention(), model)
    assert PASS.measure(model) == 0 and not graph_pass.run(PASS, model).changes


def test_no_integer_needs_more_than_32_bits() -> None:
    """OpenVINO cuts integers to that many, and tells rows apart by nothing else (error 1 with numbers of 2³²)."""
    after = BAD()
    graph_pass.run(PASS, after)
    stored = [value.const_value for value in after.graph.initializers.values()]
    whole = [tensor.numpy() for tensor in stored if tensor is not None and tensor.dtype.name == "INT64"]
    assert whole and all(abs(array).max(initial=0) < 2**31 for array in whole)

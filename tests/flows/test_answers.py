"""The source's answers: lengths that fit the memory, sizes found by trial, and the input that looks wrong."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest

from onnxfix.eval.inputs.feeds import Feed, make_feeds
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.flows.repair.asked import repair
from onnxfix.flows.repair.verification.source import budget
from onnxfix.flows.repair.verification.source.answers import Answers, answers
from onnxfix.flows.repair.verification.source.made_up import LENGTHS, MadeUp
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model

RNG = np.random.default_rng(0)


def weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def answered(model: Model, folder: Path, how: MadeUp | None = None) -> Answers:
    path = folder / "model.onnx"
    onnx.save(graphs.proto_of(model), path)
    runner = OrtRunner(path, level="none", threads=1, name="source")
    try:
        return answers(Model.open(path), runner, lengths=LENGTHS, how=how)
    finally:
        runner.close()


def additive(width: int = 64) -> Model:
    """Activations of batch × length × length × width."""
    return graphs.model(
        """g (int64[batch,seq] input_ids) => (float[batch,seq,w] y) <int64[1] rows = {2}, int64[1] columns = {1},
            int64[1] last = {3}> {
            x = Gather(table, input_ids)
            r = Unsqueeze(x, rows)
            c = Unsqueeze(x, columns)
            s = Add(r, c)
            t = Tanh(s)
            e = MatMul(t, v)
            q = Squeeze(e, last)
            p = Softmax <axis = -1> (q)
            y = MatMul(p, x)
        }""",
        weights(table=(50, width), v=(width, 1)),
        opset=18,
    )


def test_the_longest_feed_is_what_the_memory_allows_and_that_is_said(tmp_path: Path) -> None:
    found = answered(additive(), tmp_path, MadeUp(memory=100_000_000))
    longest = max(feed.arrays["input_ids"].shape[1] for feed in found.feeds)
    # 512 × 512 × 64 fp32 numbers are 67 MB, for 2,048 tokens 1.07 GB
    assert longest == 512 and found.said == "; at 512 tokens: 2,048 would need about 1.4 GB"


def test_nothing_is_said_where_all_of_it_fits(tmp_path: Path) -> None:
    model = graphs.model(
        "g (int64[batch,seq] input_ids) => (float[batch,seq,8] y) { x = Gather(t, input_ids) y = Tanh(x) }",
        weights(t=(50, 8)),
    )
    found = answered(model, tmp_path, MadeUp(memory=100_000_000))
    assert found.said == "" and max(feed.arrays["input_ids"].shape[1] for feed in found.feeds) == 2048


def test_what_takes_too_long_is_run_on_shorter_feeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxfix.flows.repair.verification.source.answers.SLOW_S", 0.15)
    found = answered(additive(), tmp_path, MadeUp(memory=1_000_000_000))
    longest = max(feed.arrays["input_ids"].shape[1] for feed in found.feeds)
    assert longest < 1024 and "took" in found.said and f"; at {longest:,} tokens: " in found.said


@pytest.mark.parametrize("length", [64, 256])
def test_bytes_are_those_of_the_largest_values_at_once(length: int) -> None:
    feed = Feed("one", {"input_ids": np.zeros((1, length), np.int64)})
    one = length * length * 64 * 4
    assert one < budget.needed_bytes(additive(), feed, half=False) < 2 * one


def test_values_inside_a_branch_and_of_operators_that_the_walk_does_not_know_count() -> None:
    text = """g (bool c, float[b,n] x) => (float[b,k] y) { y = If (c) <
        then_branch = t () => (float[b,k] p) {
            a = Unsqueeze(x, at) e = Tile(a, times) s = Selu(e) p = ReduceMax(s, at) },
        else_branch = e () => (float[b,n] q) { q = Neg(x) }> }"""
    model = graphs.model(text, {"at": np.array([1]), "times": np.array([1, 100, 1])}, opset=18)
    feed = Feed("one", {"c": np.array(True), "x": np.zeros((10, 100), np.float32)})
    assert budget.needed_bytes(model, feed, half=False) > 2 * 10 * 100 * 100 * 4


def test_the_machine_has_memory_and_a_share_of_it_is_taken() -> None:
    assert 0 < budget.default_bytes() <= min(budget.MOST, budget.available_bytes() // 2)


def test_a_size_deep_in_the_graph_is_found_by_trial(tmp_path: Path) -> None:
    """A recogniser of lines of text: behind a stride of 2 and a pool of 24 the height must be 1."""
    model = graphs.model(
        """g (float[N,3,H,W] x) => (float[N,T,8] y) <int64[1] height = {2}> {
            c = Conv <kernel_shape = [3,3], strides = [2,1], pads = [1,1,1,1]> (x, w)
            p = AveragePool <kernel_shape = [24,1], strides = [24,1]> (c)
            s = Squeeze(p, height)
            t = Transpose <perm = [0,2,1]> (s)
            y = MatMul(t, m)
        }""",
        weights(w=(16, 3, 3, 3), m=(16, 8)),
        opset=18,
    )
    feeds = answered(model, tmp_path).feeds
    assert {feed.arrays["x"].shape[2] for feed in feeds} == {48} and len(
        {feed.arrays["x"].shape for feed in feeds}
    ) == 2


PAIR = "g (float[b,n] x, float[b,m] z) => (float[b,4] y) { t = Tanh(z) c = Concat <axis = 1> (t, x) y = MatMul(c, w) }"


def test_the_input_that_looks_wrong_is_named_and_a_stated_shape_helps(tmp_path: Path) -> None:
    model = graphs.model(PAIR, weights(w=(777, 4)))
    with pytest.raises(OnnxfixError) as caught:
        answered(model, tmp_path, MadeUp())
    fed = "x".join(map(str, make_feeds(model, longest=2048)[0].arrays["x"].shape))
    assert f"input 'x', fed as {fed}, looks wrong: state its shape, as in input='x=2x16000'" in str(caught.value)
    found = answered(model, tmp_path, MadeUp(shapes={"x": (3, 700), "z": (3, 77)}))
    assert found.feeds[0].arrays["x"].shape == (3, 700)


STATE = """g (float[?,?] input, float[2,?,8] state) => (float[b] y, float[b,8] next) <int64 first = {0}> {
    frames = Unsqueeze(input, one) padded = Pad<mode = "reflect">(frames, pads) c = Conv<strides = [48]>(padded, k)
    m = ReduceMean<keepdims = 0>(c, two) h = Gather<axis = 0>(state, first) next = Add(m, h)
    y = ReduceMean<keepdims = 0>(next, one)
}"""


def test_a_state_has_a_row_for_each_row_of_sound(tmp_path: Path) -> None:
    """No axis has a name, so that rows and lengths are found by trial; draws take other lengths besides."""
    values = weights(k=(8, 1, 48)) | {
        "one": np.array([1]), "two": np.array([2]), "pads": np.array([0, 0, 0, 0, 0, 40]),
    }  # fmt: skip
    found = answered(graphs.model(STATE, values, opset=18), tmp_path, MadeUp(draws=(1.0,)))
    shapes = {feed.arrays["input"].shape: feed.arrays["state"].shape for feed in (*found.feeds, *found.draws)}
    assert set(shapes.values()) == {(2, 1, 8)}
    assert {1, 48, 512, 1024} <= {size for shape in shapes for size in shape}
    assert len(found.draws) == 128
    assert all(found.reference.run(feed.arrays) for feed in found.draws)


def test_nothing_is_drawn_beside_inputs_that_are_given(tmp_path: Path) -> None:
    path = additive().save(tmp_path / "model.onnx")
    runner = OrtRunner(path, level="none", threads=1, name="source")
    found = answers(Model.open(path), runner, make_feeds(additive(), longest=16), how=MadeUp(draws=(1.0,)))
    assert found.draws == [] and len(found.feeds) == 3


def test_no_shape_helps_a_division_by_zero(tmp_path: Path) -> None:
    text = (
        "g (float[n] x) => (float[n] y) { k = Constant<value_int = 0>() s = Shape(x) d = Div(s, k) y = Expand(x, d) }"
    )
    path = graphs.model(text).save(tmp_path / "model.onnx")
    with pytest.raises(OnnxfixError, match="division by zero") as caught:
        repair(path, precision="fp32")
    assert "looks wrong" not in str(caught.value) and "state its shape" not in str(caught.value)

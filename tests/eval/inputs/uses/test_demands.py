"""What the first readers of an input demand of its sizes, and that feeds made up so run."""

from __future__ import annotations

import graphs
import numpy as np
import onnx
import pytest

from onnxfix.eval.inputs.feeds import STEPS, make_feeds
from onnxfix.eval.inputs.uses.demands import demands
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model

RNG = np.random.default_rng(0)


def weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


CASES = {
    "rows of a weight, behind a Cast and a bias": (
        "g (float[b,n] x) => (float[b,4] y) { c = Cast <to = 1> (x) s = Mul(c, k) y = MatMul(s, w) }",
        weights(w=(24, 4), k=(1,)),
        {("x", 1): 24},
    ),
    "a bias alone": (
        "g (float[b,t,n] x) => (float[b,t,n] y) { y = Add(x, w) }",
        weights(w=(24,)),
        {("x", 2): 24},
    ),
    "Gemm of a transposed weight": (
        "g (float[b,n] x) => (float[b,4] y) { y = Gemm <transB = 1> (x, w) }",
        weights(w=(4, 24)),
        {("x", 1): 24},
    ),
    "channels of a Conv in groups, of images turned": (
        """g (float[b,h,w0,c] x) => (float[b,4,h,w0] y) {
            t = Transpose <perm = [0,3,1,2]> (x) y = Conv <group = 2> (t, w) }""",
        weights(w=(4, 3, 1, 1)),
        {("x", 3): 6},
    ),
    "a window that a Reshape cuts": (
        """g (float[b,samples] x) => (float[n,4] y) <int64[2] shape = {-1, 512}> {
            r = Reshape(x, shape) y = MatMul(r, w) }""",
        weights(w=(512, 4)),
        {("x", 1): 512},
    ),
    "a whole shape, batch and all": (
        "g (float[b,n] x) => (float[1,8,16] y) <int64[3] shape = {1, 8, 16}> { y = Reshape(x, shape) }",
        {},
        {("x", 0): 1, ("x", 1): 128},
    ),
    "a frame of an STFT": (
        """g (float[b,n,1] x) => (float[b,f,k,2] y) <int64 step = {64}, int64 frame = {200}> {
            y = STFT(x, step, w, frame) }""",
        weights(w=(200,)),
        {("x", 1): 200},
    ),
    "states of an LSTM": (
        """g (float[s,b,n] x, float[d,b,m] h) => (float[s,1,b,8] y) {
            y = LSTM <hidden_size = 8> (x, w, r, , , h, c) }""",
        weights(w=(1, 32, 12), r=(1, 32, 8), c=(1, 2, 8)),
        {("x", 2): 12, ("h", 2): 8, ("h", 0): 1},
    ),
    "parts of a Split": (
        """g (float[b,n] x) => (float[b,5] y, float[b,7] z) <int64[2] parts = {5, 7}> {
            y, z = Split <axis = 1> (x, parts) }""",
        {},
        {("x", 1): 12},
    ),
    "heads of attention demand nothing": (
        "g (float[b,s,32] x) => (float[b,s,4,8] y) <int64[4] shape = {0, -1, 4, 8}> { y = Reshape(x, shape) }",
        {},
        {},
    ),
    "nor does a product of two activations": (
        "g (float[b,s,n] x, float[b,n,k] z) => (float[b,s,k] y) { y = MatMul(x, z) }",
        {},
        {},
    ),
}


@pytest.mark.parametrize(("text", "constants", "sizes"), CASES.values(), ids=CASES)
def test_sizes(text: str, constants: dict[str, np.ndarray], sizes: dict[tuple[str, int], int]) -> None:
    model = graphs.model(text, constants, opset=18)
    assert demands(model).sizes == sizes
    if "LSTM" not in text and "MatMul(x, z)" not in text:
        for feed in make_feeds(model):
            graphs.run(model, feed.arrays)


def decoder(mask: str) -> Model:
    """One layer of attention over a cache; `mask` is what the file calls the mask's length."""
    model = graphs.model(
        """g (int64[b,new] ids, int64[b,total] attention_mask, float[b,2,cached,4] key) => (float[b,new,8] y,
            float[b,2,all,4] present) <int64[4] heads = {0,0,2,4}, int64[3] joined = {0,0,8}, int64[2] at = {1,2}> {
            x = Gather(table, ids)
            q = MatMul(x, w)
            split = Reshape(q, heads)
            turned = Transpose <perm = [0,2,1,3]> (split)
            present = Concat <axis = 2> (key, turned)
            other = Transpose <perm = [0,1,3,2]> (present)
            scores = MatMul(turned, other)
            seen = Cast <to = 1> (attention_mask)
            wide = Unsqueeze(seen, at)
            masked = Add(scores, wide)
            p = Softmax <axis = -1> (masked)
            c = MatMul(p, present)
            back = Transpose <perm = [0,2,1,3]> (c)
            y = Reshape(back, joined)
        }""",
        weights(table=(30, 8), w=(8, 8)),
        opset=18,
    )
    proto = graphs.proto_of(model)
    proto.graph.input[1].type.tensor_type.shape.dim[1].dim_param = mask
    return graphs.opened(proto)


def test_a_cache_is_found_by_what_is_appended_to_it() -> None:
    model = decoder("total")
    assert demands(model).grown == {("key", 2)}
    for feed in make_feeds(model, whole_mask=True):
        (batch, new), cached = feed.arrays["ids"].shape, feed.arrays["key"].shape[2]
        assert cached == batch + 2 and feed.arrays["attention_mask"].shape == (batch, cached + new)
        assert graphs.run(model, feed.arrays)["y"].shape == (batch, new, 8)


def test_a_sum_of_names_needs_no_trial() -> None:
    model = decoder("cached + new")
    for feed in make_feeds(model):
        assert graphs.run(model, feed.arrays)["y"].shape == (*feed.arrays["ids"].shape, 8)


def test_steps_of_a_decoder() -> None:
    """A prompt with nothing before it, then a token behind one and behind seven; none of what has no cache."""
    model = decoder("cached + new")
    steps = make_feeds(model, steps=STEPS)
    assert [(f.arrays["ids"].shape, f.arrays["key"].shape[2]) for f in steps] == [((3, 9), 0), ((2, 1), 1), ((2, 1), 7)]
    for feed in steps:
        (rows, new), past, mask = (feed.arrays[name].shape for name in ("ids", "key", "attention_mask"))
        assert mask == (rows, past[2] + new)
        assert graphs.run(model, feed.arrays)["y"].shape == (rows, new, 8)
    assert [bool(feed.arrays["attention_mask"].all()) for feed in steps] == [False, True, False]
    assert make_feeds(graphs.model("g (float[b,n] x) => (float[b,n] y) { y = Tanh(x) }"), steps=STEPS) == []


def test_positions_go_on_behind_a_cache_and_stay_within_the_table() -> None:
    proto = graphs.proto_of(decoder("cached + new"))
    proto.graph.input.append(onnx.helper.make_tensor_value_info("position_ids", 7, ["b", "new"]))
    for feed in [*make_feeds(graphs.opened(proto), longest=40), *make_feeds(graphs.opened(proto), steps=STEPS)]:
        positions, past = feed.arrays["position_ids"], feed.arrays["key"].shape[2]
        assert positions[0].tolist() == list(range(past, past + positions.shape[1]))
        assert feed.name.startswith(("first", "token")) or positions.max() < 40


def test_a_name_with_a_minus_is_no_difference() -> None:
    model = graphs.model("g (float[b,n] x) => (float[b,n] y) { y = Tanh(x) }")
    proto = graphs.proto_of(model)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch-size"
    assert [feed.arrays["x"].shape[0] for feed in make_feeds(graphs.opened(proto))] == [2, 3]


def test_shapes_that_are_stated_hold_for_all_inputs_of_a_name() -> None:
    model = graphs.model("g (float[b,n] x, float[b,k] z) => (float[b,m] y) { y = Concat <axis = 1> (x, z) }")
    for feed in make_feeds(model, shapes={"x": (7, 9)}):
        assert feed.arrays["x"].shape == (7, 9) and feed.arrays["z"].shape[0] == 7


@pytest.mark.parametrize("shape", [{"q": (1,)}, {"x": (1, 2, 3)}, {"x": (1, 5)}])
def test_a_shape_that_does_not_fit_is_named(shape: dict[str, tuple[int, ...]]) -> None:
    model = graphs.model("g (float[b,4] x) => (float[b,4] y) { y = Tanh(x) }")
    with pytest.raises(OnnxfixError, match="input="):
        make_feeds(model, shapes=shape)


def test_steps_of_a_recurrent_operator_are_found_behind_a_table_and_demand_no_length() -> None:
    """Time comes first, and tokens are looked up; a constant of 17 positions is an export's fault, and no size."""
    text = """g (int64[s,b] ids) => (float[1,b,8] y) {{
        e = Gather(table, ids) {} , y = LSTM <hidden_size = 8> (f, w, r) }}"""
    arrays = weights(table=(50, 12), w=(1, 32, 12), r=(1, 32, 8), frozen=(17, 1, 12))
    for body in ("f = Identity(e)", "f = Add(e, frozen)"):
        found = demands(graphs.model(text.format(body), arrays))
        assert found.stepped == {("ids", 0)} and found.sizes == {}
    feeds = make_feeds(graphs.model(text.format("f = Identity(e)"), arrays))
    assert [feed.arrays["ids"].shape[0] for feed in feeds] == [17, 43, 512]

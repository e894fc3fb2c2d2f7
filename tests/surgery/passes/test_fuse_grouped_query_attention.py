"""Attention over a cache becomes GroupQueryAttention: the same answer and the same cache under any padding, or none."""

import graphs
import numpy as np
import onnx
import pytest

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.fuse_attention import FuseAttention
from onnxfix.surgery.passes.fuse_grouped_query_attention import FuseGroupedQueryAttention

PASS = FuseGroupedQueryAttention()
HEADS, KEYS, SIZE = 4, 2, 8
# Queries of 4 heads, keys and values of 2, each repeated for two of queries; ONNX text has no sums of dimensions.
HEAD = """g (float[batch,sequence,32] x, int64[batch,total] attention_mask, float[batch,2,past,8] past_key,
        float[batch,2,past,8] past_value)
    => (float[batch,sequence,32] y, float[batch,2,total,8] present_key, float[batch,2,total,8] present_value) {
    q0 = Reshape(x, split)
    q = Transpose<perm = [0, 2, 1, 3]>(q0)
    kx = MatMul(x, wk)
    k0 = Reshape(kx, split_keys)
    k = Transpose<perm = [0, 2, 1, 3]>(k0)
    vx = MatMul(x, wv)
    v0 = Reshape(vx, split_keys)
    v = Transpose<perm = [0, 2, 1, 3]>(v0)
    present_key = Concat<axis = 2>(past_key, k)
    present_value = Concat<axis = -2>(past_value, v)
    k5 = Unsqueeze(present_key, two)
    v5 = Unsqueeze(present_value, two)
    kr = Expand(k5, twice)
    vr = Expand(v5, twice)
    sk = Shape(present_key)
    length = Gather(sk, two)
    whole = Concat<axis = 0>(front, length, end)
    keys = Reshape(kr, whole)
    values = Reshape(vr, whole)
    kt = Transpose<perm = [0, 1, 3, 2]>(keys)
    s0 = MatMul(q, kt)
    s = Mul(s0, scale)
    sx = Shape(x)
    new = Gather(sx, one)
    before = Sub(length, new)
    zero_scalar = Squeeze(zero)
    new_scalar = Squeeze(new)
    one_scalar = Squeeze(one)
    length_scalar = Squeeze(length)
    rows0 = Range(zero_scalar, new_scalar, one_scalar)
    rows1 = Add(rows0, before)
    rows = Unsqueeze(rows1, one)
    columns = Range(zero_scalar, length_scalar, one_scalar)
"""
CAUSAL = "seen = LessOrEqual(columns, rows)\n"
WINDOW = """later = LessOrEqual(columns, rows)
    away = Sub(rows, columns)
    near = Less(away, window)
    seen = And(later, near)
"""
AHEAD = "ahead = Add(rows, one)\n seen = LessOrEqual(columns, ahead)\n"
PADDED = """    real = Cast<to = 9>(attention_mask)
    wide = Unsqueeze(real, around)
    both = And(seen, wide)
"""
WHOLE = "    both = Identity(seen)\n  counted = ReduceSum(attention_mask)\n"
TAIL = """
    mask = Where(both, nothing, lowest)
    masked = Add(s, mask)
    p = Softmax<axis = -1>(masked)
    bad = IsNaN(p)
    w = Where(bad, nothing, p)
    o = MatMul(w, values)
    t = Transpose<perm = [0, 2, 1, 3]>(o)
    y = Reshape(t, joined)
}"""
RNG = np.random.default_rng(3)
WEIGHTS = {
    "split": np.array([0, 0, HEADS, SIZE]), "split_keys": np.array([0, 0, KEYS, SIZE]), "joined": np.array([0, 0, -1]),
    "wk": RNG.standard_normal((32, 16)).astype(np.float32), "wv": RNG.standard_normal((32, 16)).astype(np.float32),
    "twice": np.array([1, 1, 2, 1, 1]), "front": np.array([-1, HEADS]), "end": np.array([SIZE]),
    "zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "around": np.array([1, 2]),
    "window": np.array(5), "scale": np.array(0.3, np.float32), "nothing": np.array(0, np.float32),
    "lowest": np.array(-np.inf, np.float32),
}  # fmt: skip


def made(
    mask: str = CAUSAL,
    padding: str = PADDED,
    head: str = HEAD,
    tail: str = TAIL,
    batch: str = "batch",
    **more: np.ndarray,
) -> Model:
    text = head + mask + padding + tail
    return of_text(text.replace("batch,", f"{batch},"), WEIGHTS | more)


def of_text(text: str, weights: dict[str, np.ndarray]) -> Model:
    """With the length that ONNX text has no name for."""
    model = graphs.model(text, {name: array for name, array in weights.items() if name in text}, 18)
    proto = graphs.proto_of(model)
    for value in (proto.graph.input[1], *proto.graph.output[1:]):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "total":
                dim.dim_param = "past + sequence"
    return graphs.opened(proto)


def BAD() -> Model:
    """Of one row: more than one takes a token at a time behind a cache, and feeds are made up of more."""
    return made(batch="1")


def SOUND() -> Model:
    """A query that sees the key behind its own."""
    return made(AHEAD, batch="1")


STEPS = [(2, 9, 0), (3, 1, 7), (1, 6, 5), (1, 1, 0), (2, 1, 1)]


def feed(rows: int, new: int, past: int, padding: str = "") -> dict[str, np.ndarray]:
    rng, total = np.random.default_rng(rows + past), new + past
    mask = np.ones((rows, total), np.int64)
    hidden = {"left": slice(0, total // 3), "right": slice(total - total // 3, total), "holes": slice(1, total // 2)}
    if padding:
        mask[-1, hidden[padding]] = 0
    caches = {
        f"past_{what}": rng.standard_normal((rows, KEYS, past, SIZE)).astype(np.float32) for what in ("key", "value")
    }
    return {"x": rng.standard_normal((rows, new, 32)).astype(np.float32), "attention_mask": mask, **caches}


def differing(source: Model, result: Model, given: dict[str, np.ndarray]) -> float:
    """The largest difference at tokens that are no padding; the caches are equal in every bit."""
    expected, found = graphs.run(source, given), graphs.run(result, given)
    assert list(expected) == list(found)
    for name in ("present_key", "present_value"):
        np.testing.assert_array_equal(found[name], expected[name])
    real = given["attention_mask"][:, given["past_key"].shape[2] :] != 0
    return float(np.abs(found["y"] - expected["y"])[real].max(initial=0))


@pytest.mark.parametrize("padding", ["", "left", "right", "holes"])
@pytest.mark.parametrize("mask", [CAUSAL, WINDOW], ids=["causal", "window"])
def test_the_answer_and_the_cache_are_the_same(mask: str, padding: str) -> None:
    source, result = made(mask), made(mask)
    outcome = graph_pass.run(PASS, result)
    ops = graphs.op_types(result)
    assert ops.count("GroupQueryAttention") == 1 and "Softmax" not in ops and "Expand" in ops and "Transpose" not in ops
    assert "1 of 1 attention over a cache" in outcome.notes[0]
    for step in STEPS:
        assert differing(source, result, feed(*step, padding)) < 2e-6, step


def test_interface_and_operator() -> None:
    source, result = made(WINDOW), made(WINDOW)
    graph_pass.run(PASS, result)
    before, after = ([(v.name, v.type, v.shape) for v in (*m.graph.inputs, *m.graph.outputs)] for m in (source, result))
    assert after == before
    (node,) = (node for node in result.graph if node.op_type == "GroupQueryAttention")
    assert {n: a.value for n, a in node.attributes.items()} == {
        "num_heads": 4, "kv_num_heads": 2, "scale": pytest.approx(0.3), "local_window_size": 5
    }  # fmt: skip
    assert [v.name for v in node.inputs[3:5] if v is not None] == ["past_key", "past_value"]
    assert [v.name for v in node.outputs[1:]] == ["present_key", "present_value"]
    assert len(node.inputs) == 11 and node.inputs[7:10] == (None, None, None), "rotations stand in front"
    onnx.checker.check_model(graphs.proto_of(result), full_check=True)


def test_without_padding_there_is_no_bias() -> None:
    """A mask that hides what is ahead and nothing else: on CUDA flash takes it."""
    source, result = made(padding=WHOLE), made(padding=WHOLE)
    graph_pass.run(PASS, result)
    (node,) = (node for node in result.graph if node.op_type == "GroupQueryAttention")
    assert len(node.inputs) == 7
    for step in STEPS:
        assert differing(source, result, feed(*step)) < 2e-6


def test_several_rows_of_several_tokens_behind_a_cache_end_in_an_error() -> None:
    """And in no wrong number."""
    source, result = made(), made()
    graph_pass.run(PASS, result)
    assert graphs.run(source, feed(2, 3, 4))["y"].shape == (2, 3, 32)
    with pytest.raises(Exception, match="batch_size must be 1"):
        graphs.run(result, feed(2, 3, 4))


def test_a_cache_that_is_read_besides_stays() -> None:
    """By something in front of the attention: its length, and its numbers."""
    tail = TAIL.replace(
        "y = Reshape(t, joined)", "y0 = Reshape(t, joined)\n m = ReduceMax<keepdims = 0>(extra)\n y = Add(y0, m)"
    )
    head = HEAD.replace("    k5 = ", "    extra = Tanh(present_key)\n    k5 = ")
    source, result = made(head=head, tail=tail), made(head=head, tail=tail)
    graph_pass.run(PASS, result)
    onnx.checker.check_model(graphs.proto_of(result), full_check=True)
    assert graphs.op_types(result).count("GroupQueryAttention") == 1
    for step in STEPS:
        assert differing(source, result, feed(*step, "left")) < 2e-6


def heads_of_six() -> Model:
    text = (HEAD + CAUSAL + PADDED + TAIL).replace("32]", "24]").replace(",8]", ",6]")
    weights = WEIGHTS | {
        "split": np.array([0, 0, HEADS, 6]), "split_keys": np.array([0, 0, KEYS, 6]), "end": np.array([6]),
        "wk": WEIGHTS["wk"][:24, :12], "wv": WEIGHTS["wv"][:24, :12],
    }  # fmt: skip
    return of_text(text, weights)


def test_what_is_left_as_written_says_why() -> None:
    weak = made(lowest=np.array(-3, np.float32))
    cases = ((made(AHEAD), "is not causal alone"), (heads_of_six(), "no multiple of 8"), (weak, "query 0 sees key 4"))
    for model, reason in cases:
        before = model.fingerprint()
        outcome = graph_pass.run(PASS, model)
        assert model.fingerprint() == before and reason in outcome.notes[0]


def test_a_cache_of_nothing_new_or_of_no_input_is_none() -> None:
    assert not graph_pass.run(PASS, made(head=HEAD.replace("(past_key, k)", "(k, past_key)"))).changes


def test_a_mask_of_which_1_is_padding() -> None:
    inverted = PADDED.replace("real = ", "hides = ").replace("    wide", "    real = Not(hides)\n    wide")
    source, result = made(padding=inverted), made(padding=inverted)
    graph_pass.run(PASS, result)
    assert "GroupQueryAttention" in graphs.op_types(result)
    for step in STEPS:
        given = feed(*step, "left")
        real = given["attention_mask"][:, step[2] :] != 0
        given["attention_mask"] = 1 - given["attention_mask"]
        expected, found = graphs.run(source, given)["y"], graphs.run(result, given)["y"]
        assert np.abs(found - expected)[real].max(initial=0) < 2e-6


def test_rows_without_a_key_are_padding_where_new_keys_are_of_the_same_tokens_alone() -> None:
    """Keys of something else that is appended to a cache: a query may then be a token, and see nothing."""
    other = HEAD.replace("attention_mask,", "attention_mask, float[batch,sequence,32] memory,")
    other = other.replace("kx = MatMul(x, wk)", "kx = MatMul(memory, wk)")
    assert not graph_pass.run(PASS, made(head=other)).changes
    assert graph_pass.run(PASS, made()).changes


def test_fuse_attention_leaves_it() -> None:
    model = made()
    outcome = graph_pass.run(FuseAttention(), model)
    assert not outcome.changes and "over a cache" in outcome.notes[0]


ALIBI = """    far = Sub(columns, rows)
    distance = Cast<to = 1>(far)
    slope = Mul(distance, slopes)
    shown = Where(both, nothing, lowest)
    mask = Add(shown, slope)
"""


def test_a_bias_by_distance_is_handed_on_with_the_mask() -> None:
    tail = ALIBI + TAIL.replace("    mask = Where(both, nothing, lowest)\n", "")
    slopes = np.array([0.5, 0.25, 0.125, 0.0625], np.float32).reshape(4, 1, 1)
    source, result = (made(tail=tail, slopes=slopes) for _ in range(2))
    assert "1 of 1 attention" in graph_pass.run(PASS, result).notes[0]
    for step in STEPS:
        assert differing(source, result, feed(*step, "left")) < 2e-6, step


def test_a_window_wider_than_masks_are_tried_is_handed_on_as_it_is() -> None:
    source, result = (made(WINDOW, window=np.array(100_000)) for _ in range(2))
    assert "1 of 1 attention" in graph_pass.run(PASS, result).notes[0]
    (node,) = (node for node in result.graph if node.op_type == "GroupQueryAttention")
    assert "local_window_size" not in node.attributes and "Less" in graphs.op_types(result)
    for step in STEPS:
        assert differing(source, result, feed(*step, "left")) < 2e-6, step

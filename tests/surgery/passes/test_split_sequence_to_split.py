"""SplitToSequence + SequenceAt → Split or Slice, with the cases that must be left alone."""

import graphs
import numpy as np
import pytest

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.split_sequence_to_split import SplitSequenceToSplit
from onnxfix.surgery.sites.shapes import split_sequences

PASS = SplitSequenceToSplit()
X = np.arange(60, dtype=np.float32).reshape(2, 3, 10)


def chunked(
    axis: int = -1, size: str = "int64 size = {4}", x: str = "batch,sequence,10", pieces: str = "0, 2"
) -> Model:
    first, second = pieces.split(",")
    return graphs.model(f"""g (float[{x}] x) => (float[b,s,c] y, float[b,s,d] z)
        <{size}, int64 first = {{{first}}}, int64 second = {{{second}}}> {{
        h = Neg(x)
        s = SplitToSequence<axis = {axis}>(h, size)
        a = SequenceAt(s, first)
        b = SequenceAt(s, second)
        y = Neg(a)
        z = Identity(b)
    }}""")


def with_shape(model: Model) -> Model:
    """The input of the split has a declared shape, as exporters write it."""
    node = graphs.node_named(model, "SplitToSequence_s")
    value = node.inputs[0]
    assert value is not None
    value.shape, value.type = model.graph.inputs[0].shape, model.graph.inputs[0].type
    return model


def BAD() -> Model:
    """Pieces of 4, 4 and 2 along a static axis."""
    return with_shape(chunked())


def SOUND() -> Model:
    return graphs.model("""g (float[batch,4] x) => (float[batch,2] y) {
        a, b = Split<axis = 1, num_outputs = 2>(x)
        y = Add(a, b)
    }""")


@pytest.mark.parametrize(
    ("model", "op_type"),
    [
        (with_shape(chunked()), "Split"),
        (with_shape(chunked(pieces="-1, -3")), "Split"),
        (with_shape(chunked(size="int64[3] size = {5, 2, 3}", pieces="2, 0")), "Split"),
        (chunked(axis=1, size="int64 size = {2}", pieces="0, 1"), "Slice"),
        (chunked(size="int64[3] size = {5, 2, 3}", pieces="1, 2"), "Split"),
    ],
    ids=["uneven", "from the end", "listed sizes", "dynamic axis", "listed sizes, no shape"],
)
def test_same_result_without_sequences(model: Model, op_type: str) -> None:
    expected = graphs.run(model, {"x": X})
    graph_pass.run(PASS, model)
    assert op_type in graphs.op_types(model)
    assert not {"SplitToSequence", "SequenceAt"} & set(graphs.op_types(model))
    actual = graphs.run(model, {"x": X})
    assert all(np.array_equal(expected[k], actual[k]) for k in expected)


def test_pieces_of_one_that_lose_the_axis() -> None:
    """`unbind`: no split input and keepdims 0."""
    model = graphs.model("""g (float[batch,3,10] x) => (float[batch,10] y) <int64 last = {-1}, int64 first = {0}> {
        s = SplitToSequence<axis = 1, keepdims = 0>(x)
        a = SequenceAt(s, last)
        b = SequenceAt(s, first)
        y = Sub(a, b)
    }""")
    expected = graphs.run(model, {"x": X})["y"]
    graph_pass.run(PASS, model)
    assert "SplitToSequence" not in graphs.op_types(model)
    assert np.array_equal(graphs.run(model, {"x": X})["y"], expected)


def test_a_piece_that_is_a_graph_output_keeps_its_name() -> None:
    model = graphs.model("""g (float[batch,4] x) => (float[batch,2] a, float[batch,2] b, float[batch,2] c)
        <int64 size = {2}, int64 first = {0}> {
        s = SplitToSequence<axis = 1>(x, size)
        a = SequenceAt(s, first)
        b = SequenceAt(s, first)
        c = Neg(a)
    }""")
    feed = {"x": np.arange(8, dtype=np.float32).reshape(2, 4)}
    expected = graphs.run(model, feed)
    graph_pass.run(PASS, model)
    actual = graphs.run(model, feed)
    assert list(actual) == ["a", "b", "c"]
    assert all(np.array_equal(expected[k], actual[k]) for k in expected)


@pytest.mark.parametrize(
    ("tail", "why"),
    [
        ("n = SequenceLength(s)\n y = Cast<to = 1>(n)", "SequenceLength"),
        ("p = ArgMax<axis = 1, keepdims = 0>(x)\n q = Squeeze(p)\n y = SequenceAt(s, q)", "not constant"),
        ("y = SequenceAt(s, far)", "reads piece 7 of 2"),
    ],
    ids=["read by another operator", "position computed at run time", "position out of range"],
)
def test_what_cannot_be_rewritten_is_left_alone_with_its_reason(tail: str, why: str) -> None:
    model = graphs.model(f"""g (float[1,4] x) => (float y) <int64 size = {{2}}, int64 far = {{7}}> {{
        s = SplitToSequence<axis = 1>(x, size)
        {tail}
    }}""")
    (site,) = split_sequences.find(model)
    assert why in site.refusal
    assert not graph_pass.run(PASS, model).changes

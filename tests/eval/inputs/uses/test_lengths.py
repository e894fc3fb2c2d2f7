"""Inputs that say how many of a row's tokens there are get at least one, and no more than there are."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from onnxfix.eval.inputs.feeds import make_feeds
from onnxfix.nouns.model import Model

COUNTED = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n, t] x, int64[n] count) => (bool[n, t] y) {
    zero = Constant <value = int64 {0}> ()
    one = Constant <value = int64 {1}> ()
    ones = Constant <value = int64[1] {1}> ()
    sizes = Shape (x)
    most = Gather (sizes, one)
    numbers = Range (zero, most, one)
    column = Unsqueeze (count, ones)
    y = %s
}"""
SOUND = COUNTED.replace("count", "flag") % "Equal (numbers, column)"


def fed(text: str, name: str) -> list[tuple[int, int, int]]:
    """Of each feed: the least, the largest, and the length of a row."""
    model = Model(ir.from_proto(onnx.parser.parse_model(text)), Path("m.onnx"))
    feeds = [*make_feeds(model), *make_feeds(model, draws=8)]
    return [(int(f.arrays[name].min()), int(f.arrays[name].max()), f.arrays["x"].shape[1]) for f in feeds]


@pytest.mark.parametrize("compared", ["Less (numbers, column)", "GreaterOrEqual (column, numbers)"])
def test_a_length_is_one_that_a_row_may_have(compared: str) -> None:
    found = fed(COUNTED % compared, "count")
    assert all(least >= 1 and most <= length for least, most, length in found)
    assert max(most for _, most, _ in found) > 2


def test_what_is_no_length_stays_a_small_number() -> None:
    assert all(least >= 0 and most <= 1 for least, most, _ in fed(SOUND, "flag"))


RECURRENT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n, t, 4] x, int64[n] count) => (float[rows, n, 4] y) <float[1, 4, 4] w, float[1, 4, 4] r> {
    turned = Transpose <perm = [1, 0, 2]> (x)
    few = Cast <to = 6> (count)
    %s
}"""
READERS = {
    "RNN": "all, y = RNN <hidden_size = 4> (turned, w, r, , few)",
    "ReverseSequence": "y = ReverseSequence (turned, count)",
}
SCALAR = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n, t, 4] x, int64%s count) => (float[a, b, c] y) {
    %s
}"""
LOOP = """yes = Constant <value = bool {1}> ()
    y = Loop (count, yes, x) <body = more (int64 i, bool go, float[n, t, 4] h) => (bool on, float[n, t, 4] k)
        { on = Identity (go) k = Tanh (h) }>"""
SLICE = """first = Constant <value = int64[1] {0}> ()
    axis = Constant <value = int64[1] {1}> ()
    y = Slice (x, first, count, axis)"""


@pytest.mark.parametrize("reader", READERS)
def test_steps_of_an_operator_are_a_length(reader: str) -> None:
    found = fed(RECURRENT % READERS[reader], "count")
    assert all(least >= 1 and most <= length for least, most, length in found)
    assert all(most == length for _, most, length in found[:2])  # a row is as long as can be


def test_no_more_steps_than_the_file_has() -> None:
    found = fed((RECURRENT % READERS["RNN"]).replace("float[n, t, 4] x", "float[n, 5, 4] x"), "count")
    assert max(most for _, most, _ in found) > 2
    short = (RECURRENT % READERS["RNN"].replace("turned", "x")).replace("float[n, t, 4] x", "float[5, n, 4] x")
    assert {most for _, most, _ in fed(short, "count")[:2]} == {5}


@pytest.mark.parametrize(("body", "shape", "most"), [(LOOP, "", 32), (SLICE, "[1]", 512)])
def test_a_loop_and_a_cut_get_some_steps(body: str, shape: str, most: int) -> None:
    found = fed(SCALAR % (shape, body), "count")
    assert all(least >= 1 for least, _, _ in found)
    assert [number for _, number, _ in found[:2]] == [min(length, most) for *_, length in found[:2]]


def test_an_index_is_no_length() -> None:
    body = "axis = Constant <value = int64[1] {1}> () z = Gather <axis = 1> (x, count) y = Unsqueeze (z, axis)"
    assert all(least >= 0 and most <= 1 for least, most, _ in fed(SCALAR % ("", body), "count"))

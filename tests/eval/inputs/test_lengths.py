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

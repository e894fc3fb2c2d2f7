"""Tables behind integer inputs, whatever hands ids on to them, and the ids that are fed then."""

from __future__ import annotations

import graphs
import numpy as np
import pytest

from onnxfix.eval.inputs.feeds import make_feeds
from onnxfix.eval.inputs.graph_limits import table_rows
from onnxfix.nouns.model import Model

ROWS = 500
TABLE = np.zeros((ROWS, 8), np.float32)
WAYS = {
    "as they are": ("e = Gather(table, ids)", ROWS),
    "without the last": ("i = Slice(ids, none, last, one1) e = Gather(table, i)", ROWS),
    "0 for others": ("n = Less(ids, zero) i = Where(n, zero, ids) e = Gather(table, i)", ROWS),
    "at most": ("i = Min(ids, most) e = Gather(table, i)", ROWS),
    "turned": ("i = Transpose(ids) e = Gather(table, i)", ROWS),
    "cut": ("i, j = Split<axis = 1, num_outputs = 2>(ids) e = Gather(table, j)", ROWS),
    "behind others": ("i = Add(ids, three) e = Gather(table, i)", ROWS - 3),
    "a table a codebook": ("i = Add(ids, begins) e = Gather(table, i)", 100),
    "less a first": ("i = Sub(ids, three) e = Gather(table, i)", ROWS + 3),
    "of every other row": ("i = Mul(ids, two) e = Gather(table, i)", ROWS // 2),
    "in fours": ("i = Div(ids, four) e = Gather(table, i)", 4 * (ROWS - 1) + 1),
    "a remainder": ("i = Mod(ids, four) e = Gather(table, i)", ROWS),
    "of a scaled table": ("t = Mul(table, scale) e = Gather(t, ids)", ROWS),
    "of a turned table": ("t = Transpose(table) e = Gather<axis = 1>(t, ids)", ROWS),
    "of three axes": ("t = Unsqueeze(table, one1) i = Gather(deep, ids) e = Identity(i)", 7),
    "place by place": ("i = Unsqueeze(ids, two1) e = GatherND(table, i)", ROWS),
    "in two axes": ("i = Unsqueeze(ids, two1) j = Concat<axis = 2>(i, i) e = GatherND(table, j)", 8),
    "one hot": ("e = OneHot(ids, depth, off_on)", 33),
    "in two tables": ("i = Gather(table, ids) e = Gather(deep, ids)", 7),
    "of what is computed": ("r = Tanh(x) e = Gather(r, ids)", None),
    "compared": ("e = Equal(ids, three)", None),
}
WEIGHTS = {
    "table": TABLE, "deep": np.zeros((7, 2, 3), np.float32), "none": np.array([0]), "last": np.array([-1]),
    "one1": np.array([1]), "two1": np.array([2]), "zero": np.array(0), "most": np.array(ROWS - 1),
    "three": np.array(3), "two": np.array(2), "four": np.array(4), "begins": np.array([[0, 100, 200, 300, 400]]),
    "scale": np.array(8.0, np.float32), "depth": np.array(33), "off_on": np.array([0, 1], np.float32),
}  # fmt: skip


def looked_up(way: str) -> Model:
    text = f"g (int64[batch,length] ids, float[9,8] x) => (float[a,b,c] y) {{ {WAYS[way][0]} y = Cast<to = 1>(e) }}"
    return graphs.model(text, {name: array for name, array in WEIGHTS.items() if name in text})


@pytest.mark.parametrize("way", WAYS)
def test_how_many_numbers_choose_a_row(way: str) -> None:
    assert table_rows(looked_up(way).graph.inputs[0]) == WAYS[way][1]


@pytest.mark.parametrize("way", [way for way, (_, rows) in WAYS.items() if rows is not None and way != "cut"])
def test_feeds_reach_the_whole_table_and_no_further(way: str) -> None:
    """ONNX Runtime takes every number that is fed."""
    model, rows = looked_up(way), WAYS[way][1]
    assert rows is not None
    for feed in make_feeds(model):
        ids = feed.arrays["ids"]
        assert ids.min() >= 0 and ids.max() < rows
        if way != "a table a codebook":
            graphs.run(model, feed.arrays)
    assert max(int(feed.arrays["ids"].max()) for feed in make_feeds(model)) > rows // 2


def test_axes_that_are_an_attribute() -> None:
    """Before operator set 13."""
    text = "g (int64[batch,length] ids) => (float[a,b] y) { i = Unsqueeze<axes = [2]>(ids) y = GatherND(table, i) }"
    assert table_rows(graphs.model(text, {"table": TABLE}, opset=12).graph.inputs[0]) == ROWS


@pytest.mark.parametrize("broken", ["GatherND(ids, ids)", "Gather(ids, ids)"])
def test_what_is_no_constant_has_no_rows(broken: str) -> None:
    model = graphs.model(f"g (int64[batch,length] ids) => (float[a] y) {{ y = {broken} }}")
    assert table_rows(model.graph.inputs[0]) is None

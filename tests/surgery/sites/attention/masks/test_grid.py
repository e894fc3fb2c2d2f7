"""Sizes at points that no walk was made for: of axes that grow as the text does, and of no others."""

import graphs
import pytest

from onnxfix.surgery.sites.attention.masks.computed.grid import Grid, Point

MODEL = """g (int64[batch,sequence] input_ids, float[batch,2,past,4] old) => (z) {
    begin = Constant<value_ints = [0]>()
    end = Constant<value_ints = [512]>()
    axis = Constant<value_ints = [1]>()
    some = Slice(input_ids, begin, end, axis)
    turned = Transpose<perm = [1, 0]>(input_ids)
    numbers = Cast<to = 1>(input_ids)
    last = Constant<value_ints = [1, 3]>()
    four = Unsqueeze(numbers, last)
    wide = Constant<value_ints = [1, 2, 1, 4]>()
    heads = Expand(four, wide)
    longer = Concat<axis = 2>(old, heads)
    flat = Constant<value_ints = [-1]>()
    line = Reshape(input_ids, flat)
    z = Identity(longer)
}"""


@pytest.mark.parametrize("point", [Point(4, 300), Point(2, 600), Point(5, 64, 7), Point(1, 4136)])
def test_shapes(point: Point) -> None:
    subject = graphs.model(MODEL)
    grid = Grid(subject.graph)
    values = {v.name: v for node in subject.graph for v in node.outputs}
    batch, length, past = point.batch, point.length, point.past
    assert grid.has_past and grid.has_length and grid.batch is None
    assert grid.shape(values["turned"], point) == (length, batch)
    assert grid.shape(values["longer"], point) == (batch, 2, past + length, 4)
    assert grid.shape(values["line"], point) == (batch * length,)
    assert grid.shape(values["some"], point) == (batch, min(length, 512)), "bounded: walked, not taken to grow"

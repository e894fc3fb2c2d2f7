"""What SequenceAt takes out of a SplitToSequence, in shapes and in layouts."""

import graphs
import numpy as np
import pytest

from onnxfix.surgery.sites.layouts.ground import grounds
from onnxfix.surgery.sites.layouts.views import stages

TEXT = """g (float[batch,sequence,24] x) => (float[a,b,c] y) {{
    parts = SplitToSequence<axis = {axis}, keepdims = {keep}>(x{sizes})
    y = SequenceAt(parts, at)
}}"""


@pytest.mark.parametrize(
    ("axis", "sizes", "at", "shape", "offset"),
    [
        (-1, np.array(8), 1, (7, 13, 8), 8),
        (2, np.array([4, 20]), 1, (7, 13, 20), 4),
        (-1, np.array(10), -1, (7, 13, 4), 20),
        (2, None, 3, (7, 13), 3),
    ],
)
def test_a_piece(axis: int, sizes: np.ndarray | None, at: int, shape: tuple[int, ...], offset: int) -> None:
    weights = {"at": np.array(at)} | ({"sizes": sizes} if sizes is not None else {})
    text = TEXT.format(axis=axis, keep=int(sizes is not None), sizes=", sizes" if sizes is not None else "")
    model = graphs.model(text.replace("float[a,b,c]", "float[a,b]") if sizes is None else text, weights)
    ground = grounds(model)[0]
    (value,) = model.graph.outputs
    x = np.arange(7 * 13 * 24, dtype=np.float32).reshape(7, 13, 24)
    found = graphs.run(model, {"x": x})["y"]
    assert ground.shape(value) == shape == found.shape
    path = stages(value, ground)
    assert [stage.value.name for stage in path] == ["y", "x"] and path[-1].layout.offset == offset == found.reshape(-1)[
        0
    ]

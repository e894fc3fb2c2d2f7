"""S003: axes that are declared dynamic and take one size."""

import baked_graphs
import graphs
import numpy as np
import pytest
from baked_graphs import attention

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.finding import Finding
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

SITES = ["Mul_scaled"]
BAD, SOUND = baked_graphs.BAD, baked_graphs.SOUND


def found(model: Model) -> list[Finding]:
    return [f for f in diagnose(model, Target.resolve("cpu")).findings if f.code == "S003"]


def test_it_names_axis_size_and_where_the_number_stands() -> None:
    (finding,) = found(BAD())
    assert finding.message.startswith(
        "axis 0 of x is declared dynamic, but only 4 works: Mul Mul_scaled refuses others"
    )
    assert "the number stands in Mul Mul_scaled, " in finding.message and " more" in finding.message
    assert (finding.evidence["input"], finding.evidence["axis"], finding.evidence["size"]) == ("x", 0, 4)
    assert finding.repair


@pytest.mark.parametrize(
    ("text", "declared", "weights", "size"),
    [
        ("y = Reshape(x, to)", "batch,2,12", {"to": np.array([4, 2, 12])}, 4),
        ("y = Squeeze(x, first)", "3,8", {"first": np.array([0])}, 1),
        ("a, y = Split(x, parts)", "n,3,8", {"parts": np.array([2, 3])}, 5),
        ("y = Add(x, rows)", "batch,3,8", {"rows": np.arange(6, dtype=np.float32).reshape(6, 1, 1)}, 6),
        ("r = Reshape(x, to) y = MatMul(r, w)", "2,5", {"to": np.array([2, -1]), "w": np.ones((36, 5), np.float32)}, 3),
        ("y = Concat<axis = 1>(x, extra)", "batch,5,8", {"extra": np.ones((3, 2, 8), np.float32)}, 3),
        ("y = Expand(x, to)", "batch,3,8", {"to": np.array([4, 3, 8])}, 4),
    ],
)
def test_other_operators_bake_it_too(text: str, declared: str, weights: dict[str, np.ndarray], size: int) -> None:
    (finding,) = found(graphs.model(f"g (float[batch,3,8] x) => (float[{declared}] y) {{ {text} }}", weights))
    assert finding.evidence["size"] == size


def test_rows_of_two_inputs_under_two_names() -> None:
    """As torch names them: equal they fit, and a row of one beside any is no baked batch; a number of the graph is."""
    text = """g (int64[rows,n] ids, int64[masks,n] mask) => (int64[rows,n] y) {
        shape = Shape(ids) wide = Expand(mask, shape) BODY }"""
    assert not found(graphs.model(text.replace("BODY", "y = Mul(ids, wide)")))
    baked = "part = Add(ids, four) y = Mul(part, wide)"
    (finding,) = found(graphs.model(text.replace("BODY", baked), {"four": np.zeros((4, 1), np.int64)}))
    assert finding.evidence["size"] == 4


def test_a_length_is_told_and_not_repaired() -> None:
    """A table of positions that is added whole: nothing says what other positions would be."""
    table = np.random.default_rng(0).standard_normal((1, 9, 8)).astype(np.float32)
    text = "g (float[batch,seq,8] x) => (float[batch,seq,8] y) { y = Add(x, p) }"
    (finding,) = found(graphs.model(text, {"p": table}))
    assert (finding.evidence["axis"], finding.evidence["size"], finding.repair) == (1, 9, "")
    assert "Add Add_y" in finding.message


@pytest.mark.parametrize(
    ("inputs", "text", "weights"),
    [
        # a table of at most 9 positions, cut to the length
        (
            "float[batch,seq,8] x",
            "s = Shape(x) n = Slice(s, one, two) p = Slice(t, zero, n, one) y = Add(x, p)",
            {"t": np.ones((1, 9, 8), np.float32), "zero": np.array([0]), "one": np.array([1]), "two": np.array([2])},
        ),
        # sides of an even number of pixels
        (
            "float[batch,2,height,width] x",
            "p = Conv<strides = [2, 2], pads = [0, 0, 1, 1]>(x, w) q = Concat<axis = -1>(p, p) "
            "h = Concat<axis = -2>(q, q) y = Add(x, h)",
            {"w": np.ones((2, 2, 2, 2), np.float32)},
        ),
        # two names for one size
        ("float[batch,seq] x, float[rows,length] mask", "y = Mul(x, mask)", {}),
        # a batch that is broadcast
        ("float[batch,3,8] x", "y = Add(x, w)", {"w": np.ones((1, 3, 8), np.float32)}),
        # heads of the number of the batch that was exported
        ("float[batch,9,16] x", "y = Reshape(x, to)", {"to": np.array([0, 9, 4, 4])}),
    ],
)
def test_limits_steps_and_names_are_no_finding(inputs: str, text: str, weights: dict[str, np.ndarray]) -> None:
    assert found(graphs.model(f"g ({inputs}) => (float y) {{ {text} }}", weights)) == []


@pytest.mark.parametrize("batch", [1, 2, 4, 6])
def test_the_runtime_takes_that_size_alone(batch: int) -> None:
    """What the rule says, in ONNX Runtime, whatever the batch and the heads."""
    model = attention(batch)
    (finding,) = found(model)
    assert finding.evidence["size"] == batch
    x = np.random.default_rng(0).standard_normal((batch, 9, 16)).astype(np.float32)
    assert graphs.run(model, {"x": x})["y"].shape == (batch, 6, 16)
    with pytest.raises(Exception, match=r"ONNXRuntimeError"):
        graphs.run(model, {"x": np.concatenate([x, x])})

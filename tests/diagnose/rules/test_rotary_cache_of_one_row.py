"""K010: rotations that a batch of two ends in an error, and those that take it."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
from terminal import onnxfix as typed

import onnxfix
from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target

SITES = ["RotaryEmbedding_a"]
TEXT = """g (float[batch,2,sequence,8] x, int64[batch,sequence] ids) => (float[batch,2,sequence,8] y) {
    end = Constant<value_int = 3>() size = Shape<start = 2, end = 3>(x) start = Constant<value_int = 0>()
    one = Constant<value_int = 1>() length = Squeeze(size) place = Range(start, length, one)
    angle0 = Cast<to = 1>(place) across = Constant<value_ints = [0, 2]>() angle1 = Unsqueeze(angle0, across)
    angle = Mul(angle1, inverse) cos = Cos(angle) sin = Sin(angle)
    a = RotaryEmbedding(x, cos, sin) y = RotaryEmbedding(a, cos, sin)
}"""
FREQUENCIES = {"inverse": np.array([1.0, 0.3, 0.1, 0.03], np.float32)}


def rotated(text: str = TEXT) -> Model:
    return graphs.model(text, FREQUENCIES, opset=23)


def BAD() -> Model:
    return rotated()


def SOUND() -> Model:
    """A table of positions, which position ids choose rows of."""
    table = TEXT.replace("cos = Cos(angle)", "flat = Squeeze(angle, start0) cos = Cos(flat)").replace(
        "sin = Sin(angle)", "sin = Sin(flat)"
    )
    return rotated(
        table.replace("cos, sin)", "cos, sin, ids)").replace(
            "end = ", "start0 = Constant<value_ints = [0]>() end = ", 1
        )
    )


def of_all_rows() -> Model:
    """What the bad one means: caches of every row."""
    spread = "rows = Shape<start = 0, end = 1>(x) more = Constant<value_ints = [1, 1]>() "
    spread += "times = Concat<axis = 0>(rows, more) all = Tile(angle, times) cos = Cos(all)"
    return rotated(TEXT.replace("cos = Cos(angle)", spread).replace("Sin(angle)", "Sin(all)"))


def codes(model: Model) -> set[str]:
    return {finding.code for finding in diagnose(model, Target.resolve("cpu")).findings}


def test_a_batch_of_one_says_nothing() -> None:
    """Where a batch is always one, and where each row has caches of its own."""
    assert "K010" in codes(BAD())
    assert "K010" not in codes(rotated(TEXT.replace("batch", "1")))
    assert "K010" not in codes(of_all_rows())


@pytest.mark.parametrize("inputs", [("ids", "one", "one"), ("one", "one", "one")])
def test_caches_without_axes_have_no_row(inputs: tuple[str, ...]) -> None:
    """A broken file: other rules say what is wrong with it."""
    proto = graphs.proto_of(BAD())
    for rotation in (node for node in proto.graph.node if node.op_type == "RotaryEmbedding"):
        rotation.input[:] = list(inputs)
    assert "K010" not in codes(graphs.opened(proto))


@pytest.mark.parametrize("command", ["repair", "optimize"])
def test_the_result_runs_on_every_batch(command: str, tmp_path: Path) -> None:
    path = BAD().save(tmp_path / "model.onnx")
    feeds = {n: {"x": np.random.default_rng(n).normal(size=(n, 2, 5, 8)).astype(np.float32),
                 "ids": np.zeros((n, 5), np.int64)} for n in (1, 3)}  # fmt: skip
    with pytest.raises(Exception, match="cos_cache"):
        graphs.run(BAD(), feeds[3])
    how = ("--precision", "fp32") if command == "repair" else ()
    done = typed(command, path.name, "--target", "cpu", *how, "-o", "made.onnx", cwd=tmp_path)
    assert done.returncode == 0 and "verified: " in done.stdout, done.stderr
    made = Model.open(tmp_path / "made.onnx")
    onnx.checker.check_model(str(tmp_path / "made.onnx"), full_check=True)
    for count, feed in feeds.items():
        rows = [graphs.run(BAD(), {k: v[i : i + 1] for k, v in feed.items()})["y"] for i in range(count)]
        np.testing.assert_array_equal(graphs.run(made, feed)["y"], np.concatenate(rows))


def test_python_says_it_too(tmp_path: Path) -> None:
    found = onnxfix.diagnose(BAD().save(tmp_path / "model.onnx"), target="cuda").findings
    (repair,) = (f.repair for f in found if f.code == "K010")
    assert repair.startswith("onnxfix repair ") and repair.endswith(" --precision fp32")

"""A result for OpenVINO is run there before it is written: what ONNX Runtime computes right, that one may not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
from encoder_graphs import seeing

import onnxfix
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model

NUMBER = "g (float[b,4] x, int64[b,1] n) => (float[b,4] y) { p = Mul(n, large) d = Div(p, large) f = Cast<to = 1>(d)"
FEED = [{"x": np.ones((2, 4), np.float32), "n": np.array([[5], [7]])}]
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


@pytest.fixture
def band(tmp_path: Path) -> Path:
    return seeing("a band").save(tmp_path / "model.onnx")


def integers(folder: Path, large: int) -> Path:
    """x + n, through a product of integers."""
    path = folder / "model.onnx"
    onnx.save(graphs.proto(f"{NUMBER} y = Add(x, f) }}", {"large": np.array([large])}), path)
    return path


@needs_openvino
def test_the_fastest_graph_is_right_there(band: Path) -> None:
    """Blocks of a band, and no loops over rows, whose sequences it does not take."""
    done = onnxfix.optimize(band, target="openvino")
    assert done.kind == "fp32" and done.output is not None
    assert done.verified.endswith(", on CPU and in OpenVINO; padding not compared")
    assert any(each.how == "OpenVINO on the CPU" for each in done.comparisons)
    said = " ".join(done.outcome.notes)
    assert "2 of 2 attentions in one operator each" in said and "1 attention of a band in blocks" in said
    assert "Loop" not in graphs.op_types(Model.open(done.output)) and "GPU" not in said


@needs_openvino
def test_integers_of_64_bits_are_cut_there_and_that_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(OnnxfixError, match=r"differs from the source .*") as error:
        onnxfix.repair(integers(tmp_path, 2**33), target="openvino", precision="fp32", feeds=FEED)
    assert "nothing was written" in str(error.value) and [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    done = onnxfix.repair(integers(tmp_path, 2**33), target="cpu", precision="fp32", feeds=FEED)
    assert done.output is not None


@needs_openvino
def test_integers_of_32_bits_are_not(tmp_path: Path) -> None:
    done = onnxfix.repair(integers(tmp_path, 2**3), target="openvino", precision="fp32", feeds=FEED)
    assert done.output is not None and done.verified.endswith("on CPU and in OpenVINO")


@needs_openvino
def test_an_output_that_has_several_names_there(tmp_path: Path) -> None:
    """Products with ones and sums with zeros are left out, as of a norm that was not trained, and what is left has the
    names of all of them."""
    text = """g (float[batch,8] x) => (float[batch,8] y) {
        h = MatMul(x, w) a0 = Mul(h, ones) b0 = Mul(a0, ones) y = Add(b0, nought)
    }"""
    arrays = {"w": np.random.default_rng(0).normal(size=(8, 8)), "ones": np.ones(8), "nought": np.zeros(8)}
    weights = {name: array.astype(np.float32) for name, array in arrays.items()}
    path = graphs.model(text, weights).save(tmp_path / "model.onnx")
    done = onnxfix.repair(path, precision="fp32", target="openvino")
    assert "in OpenVINO" in done.verified


def test_what_it_does_not_take_is_not_written(tmp_path: Path) -> None:
    text = "g (float[b,8] x, int64 many) => (float[m,k] y) { s = SplitToSequence<axis = 1>(x, many) "
    onnx.save(graphs.proto(f"{text} y = ConcatFromSequence<axis = 0>(s) }}"), tmp_path / "model.onnx")
    feed = {"x": np.ones((2, 8), np.float32), "many": np.array(2)}
    with pytest.raises(OnnxfixError, match=r"OpenVINO cannot load .*nothing was written"):
        onnxfix.repair(tmp_path / "model.onnx", target="openvino", precision="fp32", feeds=[feed])
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_where_it_is_not_installed_the_result_says_so(band: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "openvino" else real(name, *a))
    done = onnxfix.optimize(band, target="openvino", dry_run=True)
    assert "on CPU; not run in OpenVINO: OpenVINO is not installed" in done.verified
    assert "OpenVINO" not in onnxfix.optimize(band, target="cpu", dry_run=True).verified

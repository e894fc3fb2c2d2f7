"""Nodes of one name → names of their own: the model then loads, and answers as it was meant."""

from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
from terminal import onnxfix

from onnxfix.nouns.model import Model
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.name_nodes_apart import NameNodesApart

PASS = NameNodesApart()
TEXT = "g (float[n,4] x) => (float[n,4] y) { h = Relu(x) k = Neg(h) y = Tanh(k) }"


def BAD() -> Model:
    model = graphs.model(TEXT)
    for node in model.nodes():
        node.name = "same"
    return model


def SOUND() -> Model:
    model = graphs.model(TEXT)
    for node in model.nodes():
        node.name = ""
    return model


MEANT = SOUND
"""What the model says that no session takes."""


def test_the_first_keeps_its_name_and_others_take_one_that_is_free() -> None:
    model = BAD()
    graphs.node_named(model, "same").outputs[0].name = "same_1"
    graph_pass.run(PASS, model)
    names = [node.name for node in model.nodes()]
    assert names[0] == "same" and len({*names, "same_1"}) == 4


@pytest.mark.parametrize("how", [("--precision", "fp32"), (), ("--int8", "dynamic", "--quantize-heads")])
def test_what_does_not_load_is_repaired_and_right(how: tuple[str, ...], tmp_path: Path) -> None:
    weights = {"w": np.random.default_rng(0).normal(0, 0.3, (4, 4)).astype(np.float32)}
    text = TEXT.replace("k = Neg(h)", "k = MatMul(h, w)")
    twice = graphs.proto(text, weights)
    for node in twice.graph.node:
        node.name = "same"
    onnx.save(twice, tmp_path / "m.onnx")
    assert "K009" in onnxfix("diagnose", tmp_path / "m.onnx").stdout
    done = onnxfix("repair", tmp_path / "m.onnx", *how, "-o", tmp_path / "out.onnx")
    assert done.returncode == 0 and "arrived with nodes of one name" in done.stdout, done.stderr
    feed = {"x": np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)}
    wanted = graphs.run(graphs.model(text, weights), feed)["y"]
    assert np.allclose(graphs.run(Model.open(tmp_path / "out.onnx"), feed)["y"], wanted, atol=0.05)

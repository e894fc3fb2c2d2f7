"""Files of a sweep: made by our own functions in a process each, and shown as the command that a user would type."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest

from onnxfix.cli import voice
from onnxfix.flows.bench.workshop import Made, Workshop, words
from onnxfix.nouns.errors import spoken


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    weight = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    model = graphs.model("g (float[batch,64] x) => (float[batch,64] y) { y = MatMul(x, w) }", {"w": weight})
    source = Made(model.save(tmp_path / "legacy.onnx"), "")
    return Workshop(tmp_path, None, verify=False, _made={"legacy.onnx": source})


def test_options_as_they_are_typed() -> None:
    options = {"int8": "weight-only", "bits": 4, "fuse_attention": True, "optimize": False, "output": Path("a.onnx")}
    assert words(options) == [
        "--int8",
        "weight-only",
        "--bits",
        "4",
        "--fuse-attention",
        "--no-optimize",
        "-o",
        "a.onnx",
    ]


def test_a_repair_is_made_with_its_options(shop: Workshop) -> None:
    made = shop.repair("legacy", "four", {"int8": "weight-only", "bits": 4, "target": "cpu"})
    command = "onnxfix repair legacy.onnx --int8 weight-only --bits 4 --target cpu -o four.onnx --force --no-verify"
    assert (made.failure, made.command) == ("", command)
    (node,) = (n for n in onnx.load(made.path).graph.node if n.op_type == "MatMulNBits")
    assert {a.name: a.i for a in node.attribute}["bits"] == 4


def test_what_cannot_be_made_says_why_as_the_command_does(shop: Workshop) -> None:
    made = shop.export("dynamo")
    said = "nothing to export; name a checkpoint folder or give --factory module:function"
    assert spoken(made.failure, voice.option) == said
    assert shop.repair("dynamo", "half", {"precision": "fp16"}).failure.startswith("dynamo.onnx could not be made: not")
    refused = shop.repair("legacy", "static", {"int8": "static"})
    assert "--calibrate" in spoken(refused.failure, voice.option) and not refused.path.exists()
    (shop.folder / "legacy.onnx").write_bytes(b"no model")
    assert shop.convert("legacy", "alone", "onnxconverter-common").failure.startswith("onnxconverter-common fails: ")

"""`onnxfix extract`: parts of small graphs, by scope and by names, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
from terminal import onnxfix

from onnxfix.nouns.model import Model

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three layers in scopes of the legacy exporter; the middle one reads a split, a shared scale and a function."""
    proto = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20, "own" : 1]>
        g (float[batch,8] x, float[batch,8] scale, bool wide) => (float[batch,8] y, float[batch,4] left) {
            h = MatMul(x, w0)
            left, right = Split<num_outputs = 2, axis = -1>(h)
            both = Concat<axis = -1>(left, right)
            t = Transpose(w1)
            m = MatMul(both, t)
            s = Mul(m, scale)
            d = own.twice(s)
            y = If (wide) <
                then_branch = yes () => (float[batch,8] a) { inner = Neg(d) a = Neg(inner) },
                else_branch = no () => (float[batch,8] c) { c = Identity(d) }>
        }
        <domain: "own", opset_import: ["" : 20]>
        twice (v) => (r) { r = Add(v, v) }
        <domain: "own", opset_import: ["" : 20]>
        unused (v) => (r) { r = Sub(v, v) }""")
    names = ["/layers.0/MatMul", "/layers.0/Split", "/layers.1/Concat", "/Transpose", "/layers.1/MatMul"]
    for node, name in zip(proto.graph.node, [*names, "/layers.1/Mul", "/layers.1/twice", "/layers.2/If"], strict=True):
        node.name = name
    proto.graph.node[7].attribute[0].g.node[0].name = "/layers.9/Neg"
    for name in ("w0", "w1"):
        weight = RNG.normal(size=(8, 8)).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    onnx.save(proto, tmp_path / "model.onnx")
    return tmp_path


def extracted(folder: Path, *arguments: str) -> dict[str, list[str]]:
    done = onnxfix("extract", "model.onnx", "-o", "part.onnx", "--format", "json", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    document: dict[str, list[str]] = json.loads(done.stdout)
    return document


def test_a_scope_comes_with_its_weights_and_functions(folder: Path) -> None:
    document = extracted(folder, "--scope", "layers.1")
    assert document == {
        "schema": "onnxfix.extract/1",
        "source": "model.onnx",
        "output": "part.onnx",
        "inputs": ["left", "right", "scale"],
        "outputs": ["d"],
        "nodes": 5,
        "feeds": "part.npz",
    }
    part = Model.open(folder / "part.onnx")
    assert {n.name for n in part.graph} == {
        "/layers.1/Concat",
        "/Transpose",
        "/layers.1/MatMul",
        "/layers.1/Mul",
        "/layers.1/twice",
    }
    assert list(part.graph.initializers) == ["w1"] and [key[1] for key in part.ir.functions] == ["twice"]
    assert [str(v.shape) for v in part.graph.inputs] == ["[batch,4]", "[batch,4]", "[batch,8]"]
    with np.load(folder / "part.npz") as recorded:
        assert set(recorded) == {
            f"{feed}/{name}" for feed in ("random-2", "random-3") for name in document["inputs"]
        } | {"expected:random-2/d", "expected:random-3/d"}
        feed = {name: recorded[f"random-2/{name}"] for name in document["inputs"]}
        assert np.array_equal(graphs.run(part, feed)["d"], recorded["expected:random-2/d"])
    done = onnxfix("repair", "part.onnx", "--precision", "fp32", "--feeds", "part.npz", cwd=folder)
    assert done.returncode == 0 and "identical outputs on 2 feeds" in done.stdout, done.stderr


def test_between_names_and_on_given_feeds(folder: Path) -> None:
    """One output of a node is an input of the part, the other is computed in it."""
    x, scale = (RNG.normal(size=(5, 8)).astype(np.float32) for _ in range(2))
    np.savez(folder / "given.npz", x=x, scale=scale, wide=np.array(True))
    document = extracted(folder, "--inputs", "left", "--outputs", "m", "--feeds", "given.npz")
    assert document["inputs"] == ["left", "x"] and document["outputs"] == ["m"]
    with np.load(folder / "part.npz") as recorded:
        assert np.array_equal(recorded["given/x"], x)
    assert [n.op_type for n in Model.open(folder / "part.onnx").graph] == [
        "MatMul",
        "Split",
        "Concat",
        "Transpose",
        "MatMul",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scope", "layer.1"], "catches no node of model.onnx; near it are layers."),
        (["--outputs", "bot"], "has no value bot; near it are both"),
        (["--inputs", "w0", "--outputs", "m"], "w0 is a weight"),
        (["--outputs", "inner"], "inner lies in a body of If /layers.2/If"),
        (["--scope", "layers.9"], "scope layers.9 lies in a body of If /layers.2/If"),
        (["--inputs", "d", "--outputs", "m"], "d is not read on the way to m"),
        (["--outputs", "x"], "x cannot be an output"),
        ([], "give one of the two"),
        (["--scope", "layers.1", "-o", "model.onnx", "--force"], "model.onnx is read by this very call"),
        (["--scope", "layers.1", "-o", "none/part.onnx"], "folder none does not exist"),
    ],
)
def test_what_cannot_be_cut_is_one_line_and_writes_nothing(folder: Path, arguments: list[str], message: str) -> None:
    before = (folder / "model.onnx").read_bytes()
    done = onnxfix("extract", "model.onnx", "-o", "part.onnx", *arguments, cwd=folder)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1
    assert [f.name for f in folder.iterdir()] == ["model.onnx"] and (folder / "model.onnx").read_bytes() == before


def test_existing_files_are_replaced_only_by_force(folder: Path) -> None:
    (folder / "part.npz").write_text("somebody's")
    refused = onnxfix("extract", "model.onnx", "-o", "part.onnx", "--scope", "layers.1", cwd=folder)
    assert refused.returncode == 2 and "part.npz exists" in refused.stderr
    assert extracted(folder, "--scope", "layers.1", "--force")["nodes"] == 5

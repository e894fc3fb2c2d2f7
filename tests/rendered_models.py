"""Models whose reports the tests render: gated layers with copies, names that try to break out, one that fails."""

from __future__ import annotations

import functools
from pathlib import Path

import graphs
import onnx
from onnx import TensorProto, helper

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.report import Report
from onnxfix.nouns.target import Target

LAYERS = 3
HOSTILE = "</script><img src=x onerror=alert(1)>\"'`|\\@all é世界 \N{RIGHT-TO-LEFT OVERRIDE}\x1b[31m"


def gated(layers: int = LAYERS) -> Model:
    """Layers that split their activation through a sequence, named as the legacy exporter names nodes."""
    nodes, last = [], "x"
    for i in range(layers):
        scope = f"/model/layers.{i}/mlp"

        def add(op_type: str, inputs: list[str], output: str, call: str, scope: str = scope, **attributes: int) -> None:
            nodes.append(helper.make_node(op_type, inputs, [output], name=f"{scope}/{call}", **attributes))

        add("Exp", [last], f"h{i}", "Exp")
        add("SplitToSequence", [f"h{i}", "size"], f"s{i}", "chunk", axis=-1)
        add("SequenceAt", [f"s{i}", "first"], f"a{i}", "SequenceAt")
        add("SequenceAt", [f"s{i}", "second"], f"b{i}", "SequenceAt_1")
        add("Mul", [f"a{i}", f"b{i}"], f"m{i}", "Mul")
        last = f"l{i}" if i + 1 < layers else "y"
        add("Concat", [f"m{i}", f"m{i}"], last, "Concat", axis=-1)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "sequence", 8]) for name in "xy")
    scalars = [helper.make_tensor(n, TensorProto.INT64, [], [v]) for n, v in (("size", 4), ("first", 0), ("second", 1))]
    return _opened(helper.make_graph(nodes, "g", [x], [y], scalars))


def hostile() -> Model:
    """Node and value names with markup, quotes, bars, control characters and marks that reverse text."""
    model = gated()
    proto = graphs.proto_of(model)
    for node in proto.graph.node:
        node.name = f"/{HOSTILE}{node.name}"
        node.input[:] = [n if n in ("x", "size", "first", "second") else HOSTILE + n for n in node.input]
        node.output[:] = [n if n == "y" else HOSTILE + n for n in node.output]
    return graphs.opened(proto)


def sound() -> Model:
    return graphs.model("g (float[batch,8] x) => (float[batch,8] y) { y = Relu(x) }")


def unloadable() -> Model:
    """An operator that no library registers."""
    header = '<ir_version: 10, opset_import: ["" : 20, "com.example" : 1]>'
    return graphs.model(f"{header} g (float[n] x) => (float[n] y) {{ h = Relu(x) y = com.example.Frobnicate(h) }}")


@functools.cache
def report(name: str) -> Report:
    """The report of a model above for CUDA, made once."""
    return diagnose(MODELS[name](), Target.resolve("cuda"))


def _opened(graph: onnx.GraphProto) -> Model:
    return graphs.opened(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]))


def saved(name: str, folder: Path, file: str = "model.onnx") -> Path:
    return MODELS[name]().save(folder / file)


def empty() -> Model:
    """An output that is an input: no node at all."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    return _opened(helper.make_graph([], "g", [value], [value]))


MODELS = {"empty": empty, "gated": gated, "hostile": hostile, "sound": sound, "unloadable": unloadable}

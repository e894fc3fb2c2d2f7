"""Small graphs as ONNX text, and running them: what tests of rules, sites and passes share."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir

from onnxfix.nouns.model import Model

Array = np.ndarray[Any, Any]


def model(text: str, weights: Mapping[str, Array] | None = None, opset: int = 20, ir_version: int = 10) -> Model:
    """A model from the text of its graph; `weights` adds initializers by name."""
    return opened(proto(text, weights, opset, ir_version))


def proto(
    text: str, weights: Mapping[str, Array] | None = None, opset: int = 20, ir_version: int = 10
) -> onnx.ModelProto:
    """The same before anything looks at it: what is missing can be added, and what is right be broken."""
    header = f'<ir_version: {ir_version}, opset_import: ["" : {opset}, "com.microsoft" : 1]>\n'
    made = onnx.parser.parse_model(text if text.lstrip().startswith("<") else header + text)
    for name, array in (weights or {}).items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    name_nodes(made.graph)
    return made


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give each unnamed node the name of its first output: the text form has no node names."""
    for node in graph.node:
        node.name = node.name or f"{node.op_type}_{node.output[0]}"
        for attribute in node.attribute:
            if attribute.HasField("g"):
                name_nodes(attribute.g)


def opened(proto: onnx.ModelProto) -> Model:
    """A Model as from a file, without leaving one behind."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(proto, path)
        return Model.open(path)


def proto_of(subject: Model) -> onnx.ModelProto:
    return ir.to_proto(subject.ir)


def node_named(subject: Model, name: str) -> ir.Node:
    return next(n for n in subject.nodes() if n.name == name)


def op_types(subject: Model) -> list[str]:
    return [n.op_type for n in subject.nodes()]


def run(subject: Model, feed: Mapping[str, Array], level: str = "none", prepack: bool = True) -> dict[str, Array]:
    """Outputs of ONNX Runtime's CPU provider with one thread. Without prepacking, products of equal weights are equal
    whether a weight is an initializer or computed."""
    import onnxruntime

    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = levels.ORT_DISABLE_ALL if level == "none" else levels.ORT_ENABLE_ALL
    if not prepack:
        options.add_session_config_entry("session.disable_prepacking", "1")
    data = proto_of(subject).SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feed)), strict=True))


def rel_l2(reference: Array, candidate: Array) -> float:
    return float(np.linalg.norm(candidate.astype(np.float64) - reference) / np.linalg.norm(reference))

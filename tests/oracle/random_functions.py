"""Turn some nodes of a model into calls of local functions that hold that node, alone or with an Identity behind it."""

from __future__ import annotations

import random

import onnx
from onnx import helper

DOMAIN = "local"
# ONNX Runtime 1.31 crashes (segmentation fault) on a function with an ai.onnx operator that only it defines
NOT_WRAPPED = ("LayerNormalization", "SimplifiedLayerNormalization")


def wrap_in_functions(model: onnx.ModelProto, rng: random.Random) -> None:
    """Wrap three in ten nodes of the main graph, in place; those with bodies or omitted arguments stay."""
    for node in model.graph.node:
        plain = not any(a.HasField("g") for a in node.attribute) and "" not in (*node.input, *node.output)
        if plain and node.op_type not in NOT_WRAPPED and rng.random() < 0.3:
            _wrap(model, node, f"Function{len(model.functions)}", behind=rng.random() < 0.5)
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def _wrap(model: onnx.ModelProto, node: onnx.NodeProto, name: str, behind: bool) -> None:
    inputs = [f"a{i}" for i in range(len(node.input))]
    outputs = [f"o{i}" for i in range(len(node.output))]
    made = [f"{o}_inner" for o in outputs] if behind else outputs
    inner = helper.make_node(node.op_type, inputs, made, domain=node.domain, name="inner")
    inner.attribute.extend(node.attribute)
    body = [inner]
    if behind:
        body += [helper.make_node("Identity", [a], [b]) for a, b in zip(made, outputs, strict=True)]
    imports = [helper.make_opsetid(i.domain, i.version) for i in model.opset_import]
    model.functions.append(helper.make_function(DOMAIN, name, inputs, outputs, body, imports))
    del node.attribute[:]
    node.op_type, node.domain = name, DOMAIN

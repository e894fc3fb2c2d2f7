"""Take over a graph that an outside engine made of ours: what it added and dropped is recorded, metadata carried on."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxfix.nouns.site import Site

from .editor import MADE_BY, Editor


def adopt(editor: Editor, result: ir.Model, why: str) -> None:
    """Let the editor's model be `result`.

    Metadata of the model and of nodes that engines drop (torch scopes) is carried over: by equal name, and to nodes
    whose name the engine derived from an old one (`<name>_quant`).
    """
    old = editor.model.ir
    before = {n.name: n for n in editor.model.nodes() if n.name}
    result.metadata_props.update({k: v for k, v in old.metadata_props.items() if k not in result.metadata_props})
    for node in result.graph.all_nodes():
        origin = _origin(node.name or "", before)
        if origin is not None:
            for key, value in origin.metadata_props.items():
                node.metadata_props.setdefault(key, value)
        if node.name not in before or before[node.name].op_type != node.op_type:
            node.metadata_props[MADE_BY] = editor.pass_name
            editor.record("insert", Site.of_node(node), why)
    after = {n.name for n in result.graph.all_nodes()}
    for name, node in before.items():
        if name not in after:
            editor.record("remove", Site.of_node(node), why)
    editor.take_over(result)


def _origin(name: str, before: Mapping[str, ir.Node]) -> ir.Node | None:
    """The old node a derived name starts with: the longest prefix that ends at an underscore."""
    while name:
        if name in before:
            return before[name]
        name = name.rpartition("_")[0]
    return None

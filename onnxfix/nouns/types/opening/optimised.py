"""Reading a graph that ONNX Runtime wrote after its optimisations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from . import plain


def read(path: Path) -> ir.Model:
    """The graph; weights beside it stay there."""
    proto = onnx.load_model(path, load_external_data=False)
    _declare_once(proto.graph)
    return plain.from_proto(proto)


def _declare_once(graph: Any) -> None:
    """In bodies below a body, ONNX Runtime 1.31.1 writes a constant as an initializer and its Constant node as well."""
    made = {name for node in graph.node for name in node.output}
    kept = [tensor for tensor in graph.initializer if tensor.name not in made]
    if len(kept) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)
    for node in graph.node:
        for attribute in node.attribute:
            for body in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                _declare_once(body)

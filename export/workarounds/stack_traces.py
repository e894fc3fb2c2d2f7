"""The dynamo exporter stores a Python stack trace on every node.

Traces hold absolute paths and source lines of the exporting machine and are a third of a small model's file. Nothing
reads them; the torch module path of a node, which findings name, is another key and stays.
"""

from __future__ import annotations

from onnxfix.nouns.model import Model

KEY = "pkg.torch.onnx.stack_trace"


def drop_stack_traces(model: Model) -> None:
    """Remove the traces of all nodes, those of functions included."""
    for graph in [model.ir.graph, *(function.graph for function in model.ir.functions.values())]:
        for node in graph.all_nodes():
            node.metadata_props.pop(KEY, None)

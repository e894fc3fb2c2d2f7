"""Operators of a graph that are not ONNX's own: another build of the runtime may lack them."""

from __future__ import annotations

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import is_standard


def beyond_the_standard(model: Model) -> set[tuple[str, str]]:
    """Domain and name of operators that come from a runtime, functions of the model's own aside."""
    functions = model.ir.functions.values()
    nodes = [*model.nodes(), *(node for function in functions for node in function.all_nodes())]
    own = {(function.domain, function.name) for function in functions}
    return {(node.domain, node.op_type) for node in nodes if not is_standard(node)} - own

"""Weights that are graph inputs as well, and which of them are there only because an exporter lists every weight.

Before IR version 4 each initializer had to be an input. From then on one that is may be meant as a default that callers
override; where all weights of a file are inputs, nobody chose them one by one (`keep_initializers_as_inputs=True`).
"""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.model import Model

# The first IR version in which an initializer need not be an input.
CONSTANTS_SINCE = 4


def weights(model: Model) -> list[ir.Value]:
    """Initializers of more than one element that are inputs of the main graph, in its order."""
    return [v for v in model.graph.inputs if _size(v) > 1]


def listed(model: Model) -> list[ir.Value]:
    """Initializers that can be taken out of the inputs: none was chosen to be one. Empty where some were."""
    initializers = [v for v in model.graph.initializers.values() if v.const_value is not None]
    inputs = [v for v in initializers if v.is_graph_input()]
    if (model.ir.ir_version or 0) < CONSTANTS_SINCE or len(inputs) == len(initializers):
        return inputs
    large = [v for v in initializers if _size(v) > 1]
    return [v for v in large if v.is_graph_input()] if all(v.is_graph_input() for v in large) else []


def _size(value: ir.Value) -> int:
    tensor = value.const_value
    return int(tensor.size) if tensor is not None and value.is_initializer() else 0

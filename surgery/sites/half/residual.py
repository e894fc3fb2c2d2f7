"""The residual stream: sums that every block adds its result to, and reads again in the next one."""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.attention import attention_scores
from onnxfix.surgery.sites.constants import constant_tensor


def find(model: Model, types: ElementTypes) -> list[ir.Node]:
    """Additions of two activations of which one is such an addition itself, or is read by one.

    Rounded to half after every block, their errors add up over the depth of a model.
    """
    scores = {node for site in attention_scores.find(model, types) for node in site.nodes}
    sums = {node for node in model.nodes() if node not in scores and _adds_activations(node, types)}
    pairs = [(node, v.producer()) for node in sums for v in node.inputs if v is not None]
    chained = {node for pair in pairs if pair[1] in sums for node in pair if node is not None}
    return [node for node in model.nodes() if node in chained]


def _adds_activations(node: ir.Node, types: ElementTypes) -> bool:
    if node.op_type != "Add" or not is_standard(node) or node.inputs[0] is node.inputs[1]:
        return False
    return all(types.is_float32(v) and constant_tensor(v) is None for v in node.inputs)

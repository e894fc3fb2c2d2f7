"""Weights with several readers: an embedding table that is also the output layer, layers that share a matrix."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from onnxfix.nouns.types.operators import attribute, is_standard
from onnxfix.surgery.sites.constants import TRANSPARENT, Trace

SMALL = 256
"""Elements of a weight that may be stored twice: the nodes that would prevent it take as many bytes."""
# They ask for a shape, which any copy has.
_SHAPES = frozenset({"Shape", "Size"})


def readers(source: ir.Value) -> list[ir.Node]:
    """Who computes with a constant, behind any data movement, in graph order of the nearest."""
    found: dict[ir.Node, None] = {}
    pending, seen = [source], {source}
    while pending:
        for node in pending.pop(0).consumers():
            if node.op_type in _SHAPES and is_standard(node):
                continue
            if node.op_type in TRANSPARENT and is_standard(node) and node.inputs[0] in seen:
                pending.extend(v for v in node.outputs if v not in seen)
                seen.update(node.outputs)
            else:
                found[node] = None
    return list(found)


def others(source: ir.Value, known: Collection[ir.Node]) -> list[ir.Node]:
    """Readers of a constant that are not among the known ones."""
    return [node for node in readers(source) if node not in known]


def turns(weight: Trace) -> bool | None:
    """Whether a matrix is read transposed; None where something other than Transposes of a matrix is in between."""
    turned = False
    for node in weight.path:
        if node.op_type == "Transpose" and list(attribute(node, "perm", (1, 0))) == [1, 0]:
            turned = not turned
        elif node.op_type != "Identity" and not (
            node.op_type == "Transpose" and list(attribute(node, "perm", ())) == [0, 1]
        ):
            return None
    return turned

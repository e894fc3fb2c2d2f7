"""What a node that needs its inputs in fp32 needs as well: the arithmetic in front of it, up to the products."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.nouns.types.element_types import ElementTypes

# Products sum in fp32 and round their result once; an activation that they make is as good as half gets.
PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "FusedMatMul", "Attention"})


def with_arithmetic_before(model: Model, types: ElementTypes, labels: Iterable[str]) -> list[str]:
    """The named nodes and, in front of each that is no product, the float nodes back to products, norms and tables."""
    wanted = set(labels)
    return [label(node) for node in arithmetic_before([n for n in model.nodes() if label(n) in wanted], types)]


def arithmetic_before(nodes: Iterable[ir.Node], types: ElementTypes) -> list[ir.Node]:
    """The same of nodes."""
    found: dict[ir.Node, None] = {}
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if node in found:
            continue
        found[node] = None
        if node.op_type in PRODUCTS:
            continue
        for value in node.inputs:
            producer = value.producer() if value is not None and types.is_float32(value) else None
            if producer is not None and producer.op_type not in PRODUCTS and _passes(producer):
                pending.append(producer)
    return list(found)


def _passes(node: ir.Node) -> bool:
    """Whether a rounding of this node's result is one that its reader sees: not so behind a norm or a table."""
    return not node.op_type.endswith("Normalization") and node.op_type not in ("Gather", "Softmax", "Constant")

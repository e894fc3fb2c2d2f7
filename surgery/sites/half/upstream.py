"""What a node that needs fp32 needs as well: the arithmetic in front of it, up to the products, and behind it whatever
hands its values on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.surgery.sites.reach import reached

# Products sum in fp32 and round their result once; an activation that they make is as good as half gets.
PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "FusedMatMul", "Attention"})
# They hand values on as they are: a value beyond 65,504 is beyond it behind them, too.
CARRIERS = frozenset(
    "Reshape Transpose Unsqueeze Squeeze Expand Slice Concat Split Gather GatherND GatherElements Identity Flatten "
    "Cast CastLike Tile Pad DepthToSpace SpaceToDepth".split()
)


def carriers(model: Model, types: ElementTypes, beyond: Iterable[ir.Value]) -> list[str]:
    """Labels of the nodes that hand on the values `beyond`, directly or behind one another."""
    found: dict[ir.Node, None] = {}
    pending = list(beyond)
    while pending:
        for reader in pending.pop().consumers():
            if reader.op_type in CARRIERS and reader not in found and types.is_float32(reader.outputs[0]):
                found[reader] = None
                pending.extend(reader.outputs)
    return [label(node) for node in found]


def with_arithmetic_before(model: Model, types: ElementTypes, labels: Iterable[str]) -> list[str]:
    """The named nodes and, in front of each that is no product, the float nodes back to products, norms and tables."""
    wanted = set(labels)
    return [label(node) for node in arithmetic_before([n for n in model.nodes() if label(n) in wanted], types)]


def arithmetic_before(nodes: Iterable[ir.Node], types: ElementTypes) -> list[ir.Node]:
    """The same of nodes."""

    def before(node: ir.Node) -> Iterator[ir.Node]:
        for value in node.inputs if node.op_type not in PRODUCTS else ():
            producer = value.producer() if value is not None and types.is_float32(value) else None
            if producer is not None and producer.op_type not in PRODUCTS and _passes(producer):
                yield producer

    return reached(nodes, before)


def _passes(node: ir.Node) -> bool:
    """Whether a rounding of this node's result is one that its reader sees: not so behind a norm or a table."""
    return not node.op_type.endswith("Normalization") and node.op_type not in ("Gather", "Softmax", "Constant")

"""Attention scores: what stands between the product of queries and keys and their Softmax, and the masks in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.constants import constant_tensor
from onnxfix.surgery.sites.reach import reached

SOFTMAX = frozenset({"Softmax", "LogSoftmax"})
# Arithmetic and data movement that scores and masks are made of, element by element.
_ELEMENTWISE = frozenset(
    "Add Sub Mul Div Neg Where Max Min Clip Cast CastLike Tanh Reshape Transpose Unsqueeze Squeeze Expand Tile Slice "
    "Concat Identity Flatten ConstantOfShape Trilu ScatterND Pad Gather GatherND".split()
)
_FLOATS = ("tensor(float)", "tensor(float16)", "tensor(bfloat16)")


@dataclass(frozen=True)
class ScoresSite:
    """One Softmax. `nodes`: it and the float nodes on the way from the product; `mask`: float nodes that are computed
    from integers, booleans and constants only, and added to the scores or chosen in their place."""

    softmax: ir.Node
    nodes: tuple[ir.Node, ...]
    mask: tuple[ir.Node, ...]

    @property
    def masked_nodes(self) -> tuple[ir.Node, ...]:
        """The mask and all from where it meets the scores: finfo.min must not be cast to half on the way, or it is
        -inf, and a row without a key to see NaN. Empty without a mask."""
        return (*self.mask, *self.nodes) if self.mask else ()


def find(model: Model, types: ElementTypes) -> Iterator[ScoresSite]:
    """Every Softmax of floats, in graph order."""
    for node in model.nodes():
        if node.op_type in SOFTMAX and is_standard(node) and types.get(node.inputs[0]) in _FLOATS:
            yield _site(node, types)


def _site(softmax: ir.Node, types: ElementTypes) -> ScoresSite:
    def behind(node: ir.Node) -> Iterator[ir.Node]:
        for value in node.inputs:
            producer = value.producer() if value is not None else None
            if producer is not None and types.get(value) in _FLOATS and producer.op_type in _ELEMENTWISE:
                yield producer

    ordered = reached([softmax], behind)[::-1]
    learned = {node: _learned(node, types, set()) for node in ordered}
    scores = tuple(node for node in ordered if learned[node])
    return ScoresSite(softmax, scores, tuple(node for node in ordered if not learned[node]))


def _learned(node: ir.Node, types: ElementTypes, seen: set[ir.Node]) -> bool:
    """Whether a float of a node depends on an activation: a product, a norm, a table of embeddings, a float input."""
    seen.add(node)
    if node.op_type in ("Gather", "GatherND"):
        table = constant_tensor(node.inputs[0])
        if table is not None:
            return len(table.shape) >= 2 and types.get(node.outputs[0]) in _FLOATS
    if node.op_type not in _ELEMENTWISE:
        return True
    for value in node.inputs:
        if value is None or types.get(value) not in _FLOATS or constant_tensor(value) is not None:
            continue
        producer = value.producer()
        if producer is None or (producer not in seen and _learned(producer, types, seen)):
            return True
    return False

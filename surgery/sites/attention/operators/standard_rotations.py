"""ai.onnx's RotaryEmbedding, with what its sizes are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.layouts.ground import Ground, grounds

_POSITIONS = 3


@dataclass(frozen=True)
class StandardRotation:
    """Of `heads` heads of `size` features, of which the first `width` are turned. `flat`: the input is [batch,
    positions, heads * size], otherwise [batch, heads, positions, size]. `cos` and `sin` are [rows, width / 2] for the
    `positions` [batch, positions], or, where these are None, [batch or 1, positions, width / 2]."""

    node: ir.Node
    cos: ir.Value
    sin: ir.Value
    positions: ir.Value | None
    heads: int
    size: int
    width: int
    flat: bool
    interleaved: bool


def find(model: Model) -> Iterator[StandardRotation]:
    """All of the main graph in fp32, in its order."""
    nodes = [node for node in model.graph if node.op_type == "RotaryEmbedding" and is_standard(node)]
    if not nodes:
        return
    types, known = infer(model.ir), grounds(model)
    for node in nodes:
        if (
            node.outputs
            and len(node.inputs) >= _POSITIONS
            and all(types.is_float32(v) for v in node.inputs[:_POSITIONS])
        ):
            first, second = (_site(node, ground, known) for ground in known)
            if first is not None and first == second:
                yield first


def _site(node: ir.Node, ground: Ground, known: tuple[Ground, ...]) -> StandardRotation | None:
    x, cos, sin = node.inputs[:_POSITIONS]
    given = node.inputs[_POSITIONS] if len(node.inputs) > _POSITIONS else None
    shape, table = ground.shape(x), ground.shape(cos)
    if x is None or cos is None or sin is None or shape is None or table is None:
        return None
    if len(shape) not in (3, 4) or len(table) != (3 if given is None else 2) or ground.shape(sin) != table:
        return None
    flat = len(shape) == 3
    heads = integer(node, "num_heads", 0) if flat else shape[1]
    if heads < 1 or (shape[-1] % heads and flat):
        return None
    size, width = shape[-1] // heads if flat else shape[-1], 2 * table[-1]
    if not 0 < width <= size:
        return None
    cos, sin = (_of_one_row(v, known) if given is None else v for v in (cos, sin))
    turns = bool(integer(node, "interleaved", 0))
    return StandardRotation(node, cos, sin, given, heads, size, width, flat, turns)


def _of_one_row(cache: ir.Value, known: tuple[Ground, ...]) -> ir.Value:
    """What was repeated over the batch, in front of that: products repeat it themselves."""
    node = cache.producer()
    if node is None or node.op_type != "Expand" or not is_standard(node) or node.inputs[0] is None:
        return cache
    for ground in known:
        before, after = ground.shape(node.inputs[0]), ground.shape(cache)
        if before is None or after is None or before != (1, *after[1:]):
            return cache
    return node.inputs[0]

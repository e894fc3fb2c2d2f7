"""Attention with a mask: how many keys it has, tried at eight lengths in a row, is a multiple of four or not."""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.sizes.probe import Probe, free_axes, generic, probe

MASK = 3
ALIGNED = 4
"""Numbers in a row of a mask, of any type (core/providers/cuda/llm/attention.cc of ONNX Runtime 1.31)."""
LENGTHS = 8
"""That are tried: every remainder of a division by eight."""


class Tried:
    """A graph walked at sizes of its free axes, each a number more than the one before."""

    def __init__(self, graph: ir.Graph) -> None:
        sizes = generic(free_axes(graph), 0)
        self._probes = [
            probe(graph, {name: size + more for name, size in sizes.items()}) for more in range(LENGTHS if sizes else 1)
        ]

    def is_multiple(self, value: ir.Value | None, axis: int, of: int) -> bool:
        """Whether an axis is known to be one at every size."""
        sizes = [None if value is None else _size(walk, value, axis) for walk in self._probes]
        return all(size is not None and size % of == 0 for size in sizes)

    def rank(self, value: ir.Value) -> int | None:
        shape = self._probes[0].shapes.get(value)
        return None if shape is None else len(shape)


def _size(walk: Probe, value: ir.Value, axis: int) -> int | None:
    """Of an axis; those of what is gathered from rows whose number nothing tells are those of the indices, or
    as the file declares them."""
    shape: tuple[int | None, ...] | None = walk.shapes.get(value)
    node = value.producer()
    gathered = node is not None and node.op_type == "Gather" and is_standard(node) and integer(node, "axis", 0) == 0
    if shape is None and node is not None and gathered and (indices := node.inputs[1]) is not None:
        shape = walk.shapes.get(indices)
    shape = shape if shape is not None else _declared(value)
    size = shape[axis] if shape is not None and len(shape) > axis else None
    return None if size is None else int(size)


def _declared(value: ir.Value) -> tuple[int | None, ...] | None:
    return None if value.shape is None else tuple(size if isinstance(size, int) else None for size in value.shape)


def unaligned(model: Model) -> list[ir.Node]:
    """ai.onnx's Attention over [batch, length, width], without a cache, whose mask has another number of keys at some
    length, or one that nothing tells."""
    nodes = [
        node for node in model.graph
        if node.op_type == "Attention" and is_standard(node) and len(node.inputs) > MASK
        and node.inputs[MASK] is not None and all(value is None for value in node.inputs[MASK + 1 :])
        and integer(node, "q_num_heads", 0) and not any(value.name for value in node.outputs[1:])
    ]  # fmt: skip
    tried = Tried(model.graph) if nodes else None
    return [
        node for node in nodes
        if tried is not None and (key := node.inputs[1]) is not None and not tried.is_multiple(key, 1, ALIGNED)
    ]  # fmt: skip

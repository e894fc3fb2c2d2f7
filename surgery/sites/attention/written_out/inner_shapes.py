"""Shapes and types of scores, weights and their sum that a graph reads for something else than the attention they are
part of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import onnx_ir as ir

from onnxfix.surgery.sites.layouts.ground import Ground

# What sizes of one tensor become sizes of another by; none of it keeps the tensor itself alive once that is gone.
_SIZES = frozenset("Shape Size Gather Slice Concat Unsqueeze Squeeze Cast Identity Reshape Add Sub Mul Div".split())

Size: TypeAlias = int | str
"""A number, or `batch`, `queries`, `keys`, `rows` (batch times heads)."""


@dataclass(frozen=True)
class InnerShape:
    """A Shape, and what each of its numbers is: all that it can be at these sizes."""

    node: ir.Node
    sizes: tuple[frozenset[Size], ...]

    def and_as(self, other: InnerShape) -> InnerShape | None:
        """What holds at other sizes too; None where a number is none of these."""
        both = tuple(mine & theirs for mine, theirs in zip(self.sizes, other.sizes, strict=False))
        return replace(self, sizes=both) if all(both) and len(self.sizes) == len(other.sizes) else None

    @property
    def chosen(self) -> tuple[Size, ...]:
        return tuple(min(sizes, key=str) for sizes in self.sizes)


def readers(value: ir.Value) -> list[ir.Node]:
    """The nodes that read the elements of a value, not only its shape or its type."""
    return [node for node in value.consumers() if node.op_type != "Shape" and not _asks_type(node, value)]


def asking_type(nodes: tuple[ir.Node, ...], last: ir.Value) -> tuple[ir.Node, ...]:
    """CastLikes to the type of something on the way to the result `last`."""
    inside = (value for node in nodes for value in node.outputs if value is not last)
    return tuple(reader for value in inside for reader in value.consumers() if _asks_type(reader, value))


def _asks_type(node: ir.Node, value: ir.Value) -> bool:
    return node.op_type == "CastLike" and node.inputs[1] is value and node.inputs[0] is not value


def inner_shapes(
    nodes: tuple[ir.Node, ...], last: ir.Value, sizes: Mapping[str, int], ground: Ground
) -> tuple[InnerShape, ...]:
    """Every Shape on the way from the first product to the result `last` that is read for something else."""
    found = []
    for node in nodes:
        for value in node.outputs:
            for reader in value.consumers() if value is not last else ():
                if reader.op_type == "Shape" and not _ends_in(reader, last, set()):
                    numbers = ground.numbers(reader.outputs[0])
                    told = [] if numbers is None else [int(n) for n in numbers.reshape(-1)]
                    named = [frozenset[Size]([n, *(name for name, size in sizes.items() if size == n)]) for n in told]
                    found.append(InnerShape(reader, tuple(named)))
    return tuple(found)


def _ends_in(node: ir.Node, last: ir.Value, seen: set[ir.Node]) -> bool:
    """Whether sizes go nowhere but into reshapes on the way to the result."""
    if node in seen:
        return True
    seen.add(node)
    for value in node.outputs:
        if value is last:
            continue
        if value.is_graph_output():
            return False
        for reader in value.consumers():
            if reader.op_type not in (*_SIZES, "Transpose") or not _ends_in(reader, last, seen):
                return False
    return True

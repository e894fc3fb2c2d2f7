"""Products of attention: MatMul, ONNX Runtime's FusedMatMul and Einsum of two operands, read as batched matrices."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from onnxfix.nouns.types.operators import attribute, integer, is_standard
from onnxfix.surgery.sites.layouts.ground import Ground
from onnxfix.surgery.sites.layouts.layout import Layout

Perm = tuple[int | None, ...]
"""Where each axis of a matrix stands in an operand; None for one that the operand lacks, which repeats it."""


@dataclass(frozen=True)
class Product:
    """`left` [lead…, rows, inner] times `right` [lead…, inner, columns] times `factor`; their axes in this order by
    `perms`, those of the result by `order`. An empty one changes nothing."""

    node: ir.Node
    left: ir.Value
    right: ir.Value
    factor: float = 1.0
    perms: tuple[Perm, Perm] = ((), ())
    order: tuple[int, ...] = ()
    shape: tuple[int, ...] = field(default=(), compare=False)
    """Of the result with its axes as [lead…, rows, columns]."""


def product(node: ir.Node, ground: Ground, left: ir.Value | None = None) -> Product | None:
    """The product that a node is, of `left` where that is given; None for all else."""
    shape = ground.shape(node.outputs[0])
    if shape is None or len(shape) < 3 or len(node.inputs) != 2:
        return None
    one, other = node.inputs
    if one is None or other is None:
        return None
    if node.op_type == "Einsum" and is_standard(node):
        pairs = ((0, 1), (1, 0)) if left is None else ((0, 1),) if left is one else ((1, 0),)
        return next((found for pair in pairs if (found := _einsum(node, pair, shape)) is not None), None)
    if left is not None and one is not left:
        return None
    if node.op_type == "MatMul" and is_standard(node):
        return Product(node, one, other, shape=shape)
    if node.op_type == "FusedMatMul" and not integer(node, "transBatchA", 0) and not integer(node, "transBatchB", 0):
        ranks = [len(ground.shape(value) or ()) for value in (one, other)]
        perms = [_swapped(rank) if integer(node, name, 0) else () for rank, name in zip(ranks, ("transA", "transB"),
                                                                                        strict=True)]  # fmt: skip
        return Product(node, one, other, float(attribute(node, "alpha", 1.0)), (perms[0], perms[1]), shape=shape)
    return None


def _swapped(rank: int) -> Perm:
    return (*range(rank - 2), rank - 1, rank - 2)


def _einsum(node: ir.Node, pair: tuple[int, int], shape: tuple[int, ...]) -> Product | None:
    """With the operands in this order, where the rows come before the columns in the result."""
    sides, arrow, result = str(attribute(node, "equation", "")).replace(" ", "").partition("->")
    terms = sides.split(",")
    if not arrow or len(terms) != 2 or "." in sides or any(len(set(t)) != len(t) for t in (*terms, result)):
        return None
    left, right = (terms[i] for i in pair)
    inner = [x for x in left if x in right and x not in result]
    columns = [x for x in result if x not in left]
    rows = [x for x in result if x not in right][-1:]
    if len(inner) != 1 or len(columns) != 1 or not rows or set(left) | set(right) != {*result, *inner}:
        return None
    lead = [x for x in result if x not in (*rows, *columns)]
    wanted = [*lead, *rows, *columns]
    if result.index(rows[0]) > result.index(columns[0]):
        return None
    perms = [tuple(term.index(x) if x in term else None for x in axes)
             for term, axes in ((left, [*lead, *rows, *inner]), (right, [*lead, *inner, *columns]))]  # fmt: skip
    order = tuple(wanted.index(x) for x in result)
    sizes = tuple(shape[result.index(x)] for x in wanted)
    plain = order == tuple(range(len(order)))
    one, other = (node.inputs[i] for i in pair)
    assert one is not None and other is not None
    return Product(node, one, other, 1.0, (perms[0], perms[1]), () if plain else order, sizes)


def arranged(layout: Layout, perm: Perm) -> Layout:
    """The axes of an operand as those of a matrix."""
    if not perm:
        return layout
    return Layout(tuple(() if place is None else layout.axes[place] for place in perm), layout.offset)

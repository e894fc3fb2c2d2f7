"""Shapes of the small values that shape arithmetic computes with, told from its operators alone.

Exporters record few of them, and general shape inference would have to read the whole model for a handful of scalars.
"""

from __future__ import annotations

import onnx_ir as ir

# Operators whose result has the shape of their broadcast inputs.
_ELEMENTWISE = frozenset(
    "Abs Add Cast Ceil Div Equal Floor Greater GreaterOrEqual Identity Less LessOrEqual Max Min Mod Mul Neg Not Pow "
    "Round Sign Sqrt Sub Where".split()
)

# Chains are some ten operators long; a deeper one is no shape arithmetic.
_DEPTH = 32


def static_shape(value: ir.Value | None, depth: int = 0) -> tuple[int, ...] | None:
    """The shape of a scalar or vector; None for what is larger, dynamic, or not told by its operator."""
    if value is None or depth > _DEPTH:
        return None
    if value.shape is not None and value.shape.is_static():
        known = tuple(value.shape.numpy())
        return known if len(known) <= 1 else None
    if value.const_value is not None:
        known = tuple(value.const_value.shape.numpy())
        return known if len(known) <= 1 else None
    node = value.producer()
    return None if node is None or node.domain not in ("", "ai.onnx") else _made(node, depth + 1)


def _made(node: ir.Node, depth: int) -> tuple[int, ...] | None:
    first = node.inputs[0] if node.inputs else None
    if node.op_type == "Size":
        return ()
    if node.op_type == "Shape":
        return _of_shape(node, first)
    if node.op_type in _ELEMENTWISE:
        return _broadcast([static_shape(v, depth) for v in node.inputs])
    if node.op_type == "Gather":
        data = static_shape(first, depth)
        return static_shape(node.inputs[1], depth) if data is not None and len(data) == 1 else None
    if node.op_type in ("Unsqueeze", "Squeeze"):
        data = static_shape(first, depth)
        if data is None or data not in ((), (1,)):
            return None
        return (1,) if node.op_type == "Unsqueeze" and data == () else () if node.op_type == "Squeeze" else None
    if node.op_type == "Concat":
        parts = [static_shape(v, depth) for v in node.inputs]
        return (sum(p[0] for p in parts if p),) if all(p is not None and len(p) == 1 for p in parts) else None
    return None


def _of_shape(node: ir.Node, source: ir.Value | None) -> tuple[int, ...] | None:
    """The rank of a tensor, where it is recorded and all of it is asked for."""
    if source is None or source.shape is None or {"start", "end"} & set(node.attributes):
        return None
    return (len(source.shape),)


def _broadcast(shapes: list[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    if any(s is None for s in shapes):
        return None
    vectors = {s for s in shapes if s}
    longer = vectors - {(1,)}
    if len(longer) > 1:
        return None
    return next(iter(longer or vectors), ())

"""Shapes of the small values that shape arithmetic computes with, told from its operators alone.

Exporters record few of them, and general shape inference would have to read the whole model for a handful of scalars.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.types.operators import is_standard

# Operators whose result has the shape of their broadcast inputs.
_ELEMENTWISE = frozenset(
    "Abs Add Cast Ceil Div Equal Floor Greater GreaterOrEqual Identity Less LessOrEqual Max Min Mod Mul Neg Not Pow "
    "Round Sign Sqrt Sub Where".split()
)

# Chains are some ten operators long; a deeper one is no shape arithmetic.
_DEPTH = 32
_MOST_VALUES = 200


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
    return None if node is None or not is_standard(node) else _made(node, depth + 1)


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
        if node.op_type == "Squeeze":
            return ()
        return (1,) if data == () and _axes(node) == 1 else None
    if node.op_type == "Concat":
        parts = [static_shape(v, depth) for v in node.inputs]
        return (sum(p[0] for p in parts if p),) if all(p is not None and len(p) == 1 for p in parts) else None
    return None


def _axes(node: ir.Node) -> int:
    """How many axes an Unsqueeze adds; 0 when that is not constant."""
    if "axes" in node.attributes:
        return len(node.attributes["axes"].as_ints())
    tensor = node.inputs[1].const_value if len(node.inputs) > 1 and node.inputs[1] is not None else None
    return tensor.size if tensor is not None else 0


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


def is_bounded(value: ir.Value) -> bool:
    """Whether an integer stays far from the ends of its range: made of sizes and of constants up to 2**31.

    `Range` counts its elements in float64, which tells neighbours apart up to 2**53. Sizes and their products stay
    below; a sentinel such as the largest int64 does not.
    """
    pending, seen = [value], {value}
    while pending:
        current = pending.pop()
        if current.const_value is not None and not current.is_graph_input():
            array = current.const_value.numpy()
            if array.dtype.kind in "iu" and array.size and max(abs(int(array.min())), abs(int(array.max()))) > 2**31:
                return False
            continue
        node = current.producer()
        if node is None or node.op_type in ("Pow", "BitShift") or len(seen) > _MOST_VALUES:
            return False
        if node.op_type in ("Shape", "Size"):
            continue
        fresh = [v for v in node.inputs if v is not None and v not in seen]
        seen.update(fresh)
        pending.extend(fresh)
    return True

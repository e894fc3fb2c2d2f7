"""Attention heads: tensors [batch, heads, sequence, size] that are a transposed [batch, sequence, heads, size]."""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.types.operators import attribute, integer, is_standard
from onnxfix.surgery.sites.constants import integers, small_array

SWAP = [0, 2, 1, 3]
_SAME_LAST = frozenset({"Cast", "Identity", "LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"})


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The ONNX operator of one of these types that makes a value."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type in op_types and is_standard(node) else None


def perm(node: ir.Node) -> list[int]:
    """The axes of a Transpose; empty where it turns all of them round."""
    return list(attribute(node, "perm", ()))


def swapped(value: ir.Value | None) -> ir.Value | None:
    """The [batch, sequence, heads, size] that a [batch, heads, sequence, size] is a Transpose of; None for others."""
    node = producer(value, "Transpose")
    return node.inputs[0] if node is not None and perm(node) == SWAP else None


def last_axes_swapped(value: ir.Value | None) -> ir.Value | None:
    """The value whose last two axes a Transpose swaps; also between Reshapes that fold the other axes into one and
    unfold them again, as the dynamo exporter writes it."""
    node = producer(value, "Transpose")
    if node is not None:
        return node.inputs[0] if perm(node) == [0, 1, 3, 2] else None
    unfold = producer(value, "Reshape")
    turn = producer(unfold.inputs[0], "Transpose") if unfold is not None else None
    fold = producer(turn.inputs[0], "Reshape") if turn is not None and perm(turn) == [0, 2, 1] else None
    if unfold is None or fold is None:
        return None
    source = fold.inputs[0]
    ours = _only_from_shape_of(unfold.inputs[1], source) and _only_from_shape_of(fold.inputs[1], source)
    return source if ours else None


def last_dimension(value: ir.Value | None) -> int | None:
    """The size of the last axis, recorded or told by the operators that made it; None when neither says."""
    while value is not None:
        if value.shape is not None and len(value.shape) and isinstance(value.shape[-1], int) and value.shape[-1] > 0:
            return int(value.shape[-1])
        node = value.producer()
        if node is None:
            return None
        if node.op_type == "Reshape":
            return _last_of(node.inputs[1])
        value = node.inputs[0] if _keeps_last(node) else None
    return None


def dimension(value: ir.Value | None) -> tuple[ir.Value | None, int] | None:
    """The tensor and axis of which a value, Gather(Shape(tensor), axis) on an axis of its own, is the size."""
    lone = producer(value, "Unsqueeze", "Reshape")
    gather = producer(lone.inputs[0] if lone is not None else value, "Gather")
    shape = producer(gather.inputs[0], "Shape") if gather is not None else None
    axis = scalar(gather.inputs[1]) if gather is not None else None
    return None if shape is None or axis is None or shape.attributes else (shape.inputs[0], int(axis))


def scalar(value: ir.Value | None) -> float | None:
    """A constant of one number."""
    array = small_array(value, limit=1)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def _keeps_last(node: ir.Node) -> bool:
    if node.op_type == "Transpose":
        return bool(perm(node)) and perm(node)[-1] == len(perm(node)) - 1
    if node.op_type == "Split":
        return integer(node, "axis", 0) < -1
    if node.op_type == "Squeeze":
        axes = integers(node.inputs[1]) if len(node.inputs) > 1 else None
        return axes is not None and all(axis < -1 for axis in axes)
    if node.op_type == "Slice":
        axes = integers(node.inputs[3]) if len(node.inputs) > 3 else None
        return axes is not None and all(axis < -1 for axis in axes)
    return node.op_type in _SAME_LAST


def _last_of(shape: ir.Value | None) -> int | None:
    known = integers(shape)
    copied, joined = producer(shape, "Shape"), producer(shape, "Concat")
    if copied is not None:
        return last_dimension(copied.inputs[0]) if not copied.attributes else None
    if known is None and joined is not None:
        known = integers(joined.inputs[-1])
    return known[-1] if known and known[-1] > 0 else None


def _only_from_shape_of(value: ir.Value | None, source: ir.Value | None) -> bool:
    """Whether a shape is put together from that of `source` and constants."""
    if small_array(value) is not None:
        return True
    node = producer(value, "Shape", "Slice", "Concat", "Gather", "Unsqueeze")
    if node is None:
        return False
    if node.op_type == "Shape":
        return node.inputs[0] is source
    return all(_only_from_shape_of(v, source) for v in node.inputs)

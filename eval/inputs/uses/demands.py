"""What the first nodes that read an input demand of its sizes: rows of a weight, a window, channels, a cache's axis.

Exporters leave such axes without a number where the torch code would take others, too; only one runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.constants import constant_tensor, integers

# Operators behind which each axis is the same axis of the input.
_SAME = frozenset(
    "Cast Identity Relu LeakyRelu Tanh Sigmoid Abs Neg Sqrt Exp Log Clip Erf Gelu Softmax Dropout QuantizeLinear "
    "DequantizeLinear".split()
)
_BROADCAST = frozenset("Add Sub Mul Div Pow Max Min".split())
_SCALED = {"LayerNormalization": -1, "RMSNormalization": -1, "BatchNormalization": 1, "InstanceNormalization": 1}
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
# How many nodes behind an input are looked at.
_DEPTH = 12

Axis = tuple[str, int]
"""An axis of an input, by the input's name."""


@dataclass
class Demands:
    """`sizes`: axes that only one size fits. `grown`: axes along which the model appends to what it is given, as a
    cache of keys and values is. `stepped`: axes that a recurrent operator takes one by one, wherever they stand."""

    sizes: dict[Axis, int] = field(default_factory=dict)
    grown: set[Axis] = field(default_factory=set)
    stepped: set[Axis] = field(default_factory=set)


Axes = tuple[int | None, ...]


def demands(model: Model) -> Demands:
    """Read from the first consumers of every input with sizes that the file leaves open."""
    found = Demands()
    for value in model.graph.inputs:
        if value.shape is None or value.is_initializer():
            continue
        known = {axis: size for axis, size in enumerate(value.shape) if isinstance(size, int)}
        name = str(value.name)
        for axis, size in _follow(value, tuple(range(len(value.shape))), known, found, name, 0):
            if axis not in known:
                found.sizes.setdefault((name, axis), size)
    return found


def _follow(
    value: ir.Value, axes: Axes, known: dict[int, int], found: Demands, name: str, depth: int, sized: bool = True
) -> Iterator[tuple[int, int]]:
    """(axis of the input, size) of what a value's readers demand; `axes`: which of the input's its axes are. Not
    `sized`: rows of a table, one a token, of which another number runs, or an export has frozen it and is wrong."""
    for node, index in value.uses() if depth < _DEPTH else ():
        if not is_standard(node):
            continue
        for at, size in _demanded(node, index, axes, known) if sized else ():
            axis = axes[at] if -len(axes) <= at < len(axes) else None
            if axis is not None and size > 0:
                yield axis, size
        if node.op_type == "Concat" and _appends(node):
            at = integer(node, "axis", 0)
            if -len(axes) <= at < len(axes) and (axis := axes[at]) is not None:
                found.grown.add((name, axis))
        if node.op_type in _RECURRENT and index == 0:
            at = integer(node, "layout", 0)
            if at < len(axes) and (axis := axes[at]) is not None:
                found.stepped.add((name, axis))
        after = _behind(node, index, axes)
        if after is not None and node.outputs:
            rest = sized and node.op_type != "Gather"
            yield from _follow(node.outputs[0], after, known, found, name, depth + 1, rest)


def _appends(node: ir.Node) -> bool:
    """Whether a Concat puts something computed behind or before what comes in."""
    return len(node.inputs) == 2 and all(v is not None and constant_tensor(v) is None for v in node.inputs)


def _behind(node: ir.Node, index: int, axes: Axes) -> Axes | None:
    """The axes of a result; None where they are not the input's any more."""
    if node.op_type in _SAME and index == 0:
        return axes
    if node.op_type == "Gather" and index == 1 and not integer(node, "axis", 0):
        table = _shape(node.inputs[0])
        return (*axes, *[None] * (len(table) - 1)) if table else None
    if node.op_type in _BROADCAST and len(node.inputs) == 2:
        shape = _shape(node.inputs[1 - index])
        return axes if shape is not None and len(shape) <= len(axes) else None
    if node.op_type == "Transpose":
        given = node.attributes.get("perm")
        order = given.as_ints() if given is not None else range(len(axes))[::-1]
        return tuple(axes[i] for i in order) if len(axes) == len(list(order)) else None
    if node.op_type in ("Unsqueeze", "Squeeze") and index == 0:
        return _resized(node, axes)
    return None


def _resized(node: ir.Node, axes: Axes) -> Axes | None:
    given = node.attributes.get("axes")
    at = tuple(given.as_ints()) if given is not None else integers(node.inputs[1]) if len(node.inputs) > 1 else None
    if at is None:
        return None
    if node.op_type == "Squeeze":
        gone = {a % len(axes) for a in at}
        return tuple(axis for i, axis in enumerate(axes) if i not in gone)
    rank = len(axes) + len(at)
    new, rest = {a % rank for a in at}, iter(axes)
    return tuple(None if i in new else next(rest) for i in range(rank))


def _demanded(node: ir.Node, index: int, axes: Axes, known: dict[int, int]) -> Iterator[tuple[int, int]]:
    """(axis of the operand, size) that a node takes and no other."""
    others = [_shape(v) for v in node.inputs]
    weight = others[1] if len(others) > 1 else None
    if node.op_type == "MatMul" and index == 0 and weight and len(weight) >= 2:
        yield -1, weight[-2]
    elif node.op_type == "MatMul" and index == 1 and others[0] and len(others[0]) >= 2 and len(axes) >= 2:
        yield -2, others[0][-1]
    elif node.op_type == "Gemm" and index == 0 and weight and not integer(node, "transA", 0):
        yield 1, weight[1 if integer(node, "transB", 0) else 0]
    elif node.op_type == "Conv" and index == 0 and weight:
        yield 1, weight[1] * integer(node, "group", 1)
    elif node.op_type == "ConvTranspose" and index == 0 and weight:
        yield 1, weight[0]
    elif node.op_type in _RECURRENT and index == 0 and weight:
        yield 2, weight[2]
    elif node.op_type in _RECURRENT and index in (5, 6) and weight:
        yield 2, integer(node, "hidden_size", 0)
        yield 0, weight[0]
    elif node.op_type in _SCALED and index == 0 and weight:
        yield _SCALED[node.op_type], weight[-1]
    elif node.op_type in _BROADCAST and len(others) == 2 and (shape := others[1 - index]) is not None:
        yield from ((-1 - i, size) for i, size in enumerate(reversed(shape)) if size > 1 and i < len(axes))
    elif node.op_type == "STFT" and index == 0:
        frame = integers(node.inputs[3]) if len(node.inputs) > 3 else None
        window = others[2] if len(others) > 2 else None
        yield 1, frame[0] if frame else window[0] if window else 0
    elif node.op_type == "Split" and index == 0:
        given = node.attributes.get("split")
        parts = given.as_ints() if given is not None else integers(node.inputs[1]) if len(node.inputs) > 1 else None
        yield integer(node, "axis", 0), sum(parts or ())
    elif node.op_type == "Reshape" and index == 0:
        yield from _reshaped(node, axes, known)


def _reshaped(node: ir.Node, axes: Axes, known: dict[int, int]) -> Iterator[tuple[int, int]]:
    """The last open axis that a Reshape to numbers leaves: its elements must come out whole."""
    wanted = integers(node.inputs[1]) if len(node.inputs) > 1 else None
    open_axes = [at for at, axis in enumerate(axes) if axis is not None and axis not in known]
    if not wanted or not open_axes:
        return
    batch = open_axes[0] == 0 and len(open_axes) > 1
    if 0 in wanted[1:] or (wanted[0] == 0 and not batch) or len(open_axes) > 1 + batch:
        return
    whole = math.prod(size for size in wanted[batch and -1 not in wanted :] if size > 0)
    rest = math.prod(known.get(axis, 1) if axis is not None else 1 for axis in axes)
    if batch and -1 not in wanted and wanted[0] > 0:
        yield 0, wanted[0]
    if whole % rest == 0 and whole > rest and (-1 not in wanted or batch):
        yield open_axes[-1], whole // rest


def _shape(value: ir.Value | None) -> tuple[int, ...] | None:
    tensor = constant_tensor(value)
    return tuple(tensor.shape.numpy()) if tensor is not None else None

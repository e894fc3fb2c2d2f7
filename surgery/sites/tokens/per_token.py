"""Per token: whether a node makes the slice of each token of the slices of that token alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx_ir as ir

from onnxfix.nouns.types.operators import integer, is_standard
from onnxfix.surgery.sites.constants import integers

from .axes import Axes, Layout

MICROSOFT = "com.microsoft"
ELEMENTWISE = frozenset(
    """Abs Add And BiasGelu Cast CastLike Ceil Clip Cos Div Dropout Elu Equal Erf Exp FastGelu Floor Gelu Greater
    GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul
    Neg Not Or PRelu Pow QuickGelu Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum Swish Tanh
    Where Xor""".split()
)
_NORMS = frozenset({"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"})
_SKIP_NORMS = frozenset({"SkipLayerNormalization", "SkipSimplifiedLayerNormalization"})
REDUCTIONS = frozenset(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
    " ArgMax ArgMin".split()
)
_MOVES = frozenset({"Transpose", "Unsqueeze", "Squeeze"})
_AXIS = frozenset({"Softmax", "LogSoftmax", "Concat", "Split"})


def is_per_token(node: ir.Node, layout: Layout) -> bool:
    """Whether all results have token axes, and each slice of them is of the same slice of what is read.

    Operands without token axes are those that every token shares; ones of a position, [1, token, …], are of all rows.
    """
    results = [value for value in node.outputs if value.name]
    axes = [layout.axes(value) for value in results if value.uses() or value.is_graph_output()]
    if not axes or any(found is None or found.batch is None for found in axes):
        return False
    rule = _rule(node)
    return rule is not None and rule(node, layout)


def is_read_whole(node: ir.Node, index: int, layout: Layout) -> bool:
    """Whether an input is no slice of each token: a shape, or a table of which each token reads rows."""
    if node.op_type == "Reshape":
        return index == 1
    if node.op_type == "RotaryEmbedding":
        return index in (2, 3)
    if node.op_type == "Gather":
        return index == 0 and integer(node, "axis", 0) == 0 and layout.axes(node.inputs[1]) is not None
    return False


def _rule(node: ir.Node) -> Callable[[ir.Node, Layout], bool] | None:
    if node.op_type in ELEMENTWISE and (is_standard(node) or node.domain == MICROSOFT):
        return _elementwise
    if node.op_type in _SKIP_NORMS and node.domain == MICROSOFT:
        return _skip_norm
    if node.op_type == "RotaryEmbedding" and node.domain == MICROSOFT:
        return _rotary
    if node.op_type in _NORMS:
        return _norm
    if not is_standard(node):
        return None
    if node.op_type in REDUCTIONS:
        return _reduction
    if node.op_type in _AXIS:
        return _along_an_axis
    return {
        "MatMul": _product,
        "Gemm": _gemm,
        "Gather": _gather,
        "Slice": _slice,
        "Reshape": _reshape,
        "Expand": _expanded,
        "QuantizeLinear": _of_one_scale,
        "DequantizeLinear": _of_one_scale,
    }.get(node.op_type, _moved if node.op_type in _MOVES else None)


def _elementwise(node: ir.Node, layout: Layout) -> bool:
    """Broadcasting lines axes up from the last one."""
    rank, axes = len(layout.shape(node.outputs[0]) or ()), _result(node, layout)
    return axes is not None and all(lines_up(v, rank, axes, layout) for v in node.inputs if v is not None)


def lines_up(value: ir.Value, rank: int, axes: Axes, layout: Layout) -> bool:
    """Whether an operand has its token axes where a result of that rank has them, or none."""
    if not layout.depends(value):
        shape = layout.shape(value)
        return shape is not None and all(
            axis + len(shape) - rank < 0 or shape[axis + len(shape) - rank] == 1 for axis in (axes.batch, axes.token)
            if axis is not None
        )  # fmt: skip
    found, shape = layout.axes(value), layout.shape(value)
    if found is None or shape is None:
        return False
    shift = rank - len(shape)
    return found.token + shift == axes.token and (found.batch is None or found.batch + shift == axes.batch)


def _skip_norm(node: ir.Node, layout: Layout) -> bool:
    axes = _result(node, layout)
    return axes is not None and axes.leading and all(layout.axes(v) == axes for v in node.inputs[:2])


def _rotary(node: ir.Node, layout: Layout) -> bool:
    """Of [batch, token, width] at positions of their own, [batch, token], which say the rows of tables."""
    x, positions = node.inputs[:2]
    return layout.axes(x) == layout.axes(positions) == Axes(0, 1) and len(layout.shape(x) or ()) == 3


def _norm(node: ir.Node, layout: Layout) -> bool:
    axes, shape = layout.axes(node.inputs[0]), layout.shape(node.inputs[0])
    return axes is not None and shape is not None and integer(node, "axis", -1) % len(shape) > axes.token


def reduced_axes(node: ir.Node) -> tuple[int, ...] | None:
    """As a reduction says them, counted from either end; None where it says none, or computes them."""
    if node.op_type in ("ArgMax", "ArgMin"):
        return (integer(node, "axis", 0),)
    given = node.attributes.get("axes")
    if given is not None:
        return tuple(given.as_ints())
    return integers(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else None


def _reduction(node: ir.Node, layout: Layout) -> bool:
    reduced = reduced_axes(node)
    return bool(reduced) and _spares(node.inputs[0], reduced or (), layout)


def _along_an_axis(node: ir.Node, layout: Layout) -> bool:
    axis = integer(node, "axis", -1 if "Softmax" in node.op_type else 0)
    data = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    axes = [layout.axes(value) for value in data]
    return axes.count(axes[0]) == len(axes) and _spares(data[0], (axis,), layout)


def _spares(value: ir.Value | None, axes: tuple[int, ...], layout: Layout) -> bool:
    found, shape = layout.axes(value), layout.shape(value)
    if found is None or found.batch is None or not shape:
        return False
    return not {axis % len(shape) for axis in axes} & {found.batch, found.token}


def _product(node: ir.Node, layout: Layout) -> bool:
    """With a weight, computed from others or not."""
    axes, shape = layout.axes(node.inputs[0]), layout.shape(node.inputs[0])
    weight = layout.shape(node.inputs[1])
    if axes is None or shape is None or weight is None or layout.depends(node.inputs[1]):
        return False
    return len(weight) == 2 and axes.token < len(shape) - 1


def _gemm(node: ir.Node, layout: Layout) -> bool:
    axes = layout.axes(node.inputs[0])
    shared = [v for v in node.inputs[1:] if v is not None]
    return axes == Axes(0, 0) and not integer(node, "transA", 0) and not any(layout.depends(v) for v in shared)


def _gather(node: ir.Node, layout: Layout) -> bool:
    """Rows of a table for each token, or features of each."""
    data, ids = node.inputs[:2]
    if is_read_whole(node, 0, layout):
        found = layout.axes(ids)
        return found is not None and found == _result(node, layout)
    return not layout.depends(ids) and _spares(data, (integer(node, "axis", 0),), layout)


def _slice(node: ir.Node, layout: Layout) -> bool:
    axes = integers(node.inputs[3]) if len(node.inputs) > 3 else None
    return axes is not None and _spares(node.inputs[0], axes, layout)


def _reshape(node: ir.Node, layout: Layout) -> bool:
    """Where slices lie one behind the other before and after, and have a size of their own."""
    return all(v is not None and layout.features(v) is not None for v in (node.inputs[0], node.outputs[0]))


def _expanded(node: ir.Node, layout: Layout) -> bool:
    """To sizes that leave rows and tokens as many as they are, as heads of keys are repeated for groups of queries."""
    sizes, axes, shape = integers(node.inputs[1]), _result(node, layout), layout.shape(node.outputs[0])
    if sizes is None or axes is None or shape is None or layout.axes(node.inputs[0]) != axes:
        return False
    kept = [axis + len(sizes) - len(shape) for axis in (axes.batch, axes.token) if axis is not None]
    return all(axis < 0 or sizes[axis] == 1 for axis in kept)


def _of_one_scale(node: ir.Node, layout: Layout) -> bool:
    """To integers or from them by a scale that all tokens share; one for each column of a table is of no token."""
    axes, scales = _result(node, layout), [layout.shape(value) for value in node.inputs[1:] if value is not None]
    same = axes is not None and layout.axes(node.inputs[0]) == axes
    return same and all(shape is not None and math.prod(shape) == 1 for shape in scales)


def _moved(node: ir.Node, layout: Layout) -> bool:
    """Sizes tell where the axes are moved to."""
    found = layout.axes(node.inputs[0])
    return found is not None and found.batch is not None


def _result(node: ir.Node, layout: Layout) -> Axes | None:
    return layout.axes(node.outputs[0])

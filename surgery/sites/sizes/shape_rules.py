"""Shapes of results from shapes of operands, all of them numbers, for the operators of exported transformers.

`SHAPES` holds one function an operator: node, shapes of its inputs (None where unknown or left out) and the numbers
that they hold (None where not known), to the shape of the first output, None where that does not tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.types.operators import integer
from onnxfix.surgery.sites.shapes.product_operations import Shape

from .product_shapes import PRODUCTS, Numbers, Rule, wholes

_SAME = """Abs BiasGelu Cast CastLike Ceil Clip Cos CumSum DequantizeLinear Dropout DynamicQuantizeLinear Erf Exp
FastGelu Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LayerNormalization LeakyRelu Log LogSoftmax Neg
Not QuantizeLinear QuickGelu RMSNormalization Reciprocal Relu RotaryEmbedding Round ScatterElements ScatterND
Sigmoid Sign SimplifiedLayerNormalization Sin SkipLayerNormalization SkipSimplifiedLayerNormalization Softmax
Softplus Sqrt Tanh Trilu"""
BROADCAST = """Add And BitwiseAnd BitwiseOr Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Or Pow
Sub Where Xor""".split()
_REDUCTIONS = tuple(
    "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare"
    " ArgMax ArgMin".split()
)


def broadcast(shapes: Sequence[Shape | None]) -> Shape | None:
    known = [s for s in shapes if s is not None]
    return np.broadcast_shapes(*known) if len(known) == len(shapes) else None


def _gather(node: ir.Node, shapes: Sequence[Shape | None], _: Sequence[Numbers | None]) -> Shape | None:
    data, ids = shapes[:2]
    if data is None or ids is None:
        return None
    axis = integer(node, "gather_axis" if node.op_type == "GatherBlockQuantized" else "axis", 0) % len(data)
    return (*data[:axis], *ids, *data[axis + 1 :])


def _transpose(node: ir.Node, shapes: Sequence[Shape | None], _: Sequence[Numbers | None]) -> Shape | None:
    x = shapes[0]
    return None if x is None else tuple(x[i] for i in wholes(node, "perm") or range(len(x))[::-1])


def _reshape(node: ir.Node, shapes: Sequence[Shape | None], numbers: Sequence[Numbers | None]) -> Shape | None:
    x, wanted = shapes[0], numbers[1]
    if x is None or wanted is None:
        return None
    keep = integer(node, "allowzero", 0)
    dims = [int(d) if d or keep else x[i] for i, d in enumerate(wanted)]
    rest = math.prod(d for d in dims if d != -1)
    return tuple(math.prod(x) // max(rest, 1) if d == -1 else d for d in dims)


def _attention(node: ir.Node, shapes: Sequence[Shape | None], _: Sequence[Numbers | None]) -> Shape | None:
    """Of [batch, sequence, heads * size] operands, as both Attention of ONNX and MultiHeadAttention of ONNX Runtime
    take them; of [batch, heads, sequence, size] in ONNX's alone."""
    query, value = shapes[0], shapes[2] if len(shapes) > 2 else None
    if query is None or value is None or len(query) != len(value):
        return None
    if len(query) == 4:
        return (*query[:3], value[3])
    repeated = integer(node, "q_num_heads", 1) // max(integer(node, "kv_num_heads", 1), 1)
    return (*query[:2], value[2] * max(repeated, 1)) if len(query) == 3 else None


def _squeeze(node: ir.Node, shapes: Sequence[Shape | None], numbers: Sequence[Numbers | None]) -> Shape | None:
    x, axes = shapes[0], _axes(node, numbers)
    if not x or (axes is None and len(node.inputs) > 1):
        return x or None
    gone = {i for i, d in enumerate(x) if d == 1} if axes is None else {a % len(x) for a in axes}
    return tuple(d for i, d in enumerate(x) if i not in gone)


def _unsqueeze(node: ir.Node, shapes: Sequence[Shape | None], numbers: Sequence[Numbers | None]) -> Shape | None:
    x, axes = shapes[0], _axes(node, numbers)
    if x is None or axes is None:
        return None
    rank, rest = len(x) + len(axes), iter(x)
    new = {axis % rank for axis in axes}
    return tuple(1 if i in new else next(rest) for i in range(rank)) if len(new) == len(axes) else None


def _reduce(node: ir.Node, shapes: Sequence[Shape | None], numbers: Sequence[Numbers | None]) -> Shape | None:
    x, axes = shapes[0], _axes(node, numbers)
    if x is not None and axes is None and len(node.inputs) < 2 and not integer(node, "noop_with_empty_axes", 0):
        axes = tuple(range(len(x)))
    if x is None or axes is None:
        return None
    gone, keep = {a % max(len(x), 1) for a in axes}, integer(node, "keepdims", 1)
    return tuple(1 if i in gone else d for i, d in enumerate(x) if keep or i not in gone)


def _axes(node: ir.Node, numbers: Sequence[Numbers | None]) -> tuple[int, ...] | None:
    """Axes as an attribute, or as the second input of newer operator sets."""
    if node.op_type.startswith("Arg"):
        return (integer(node, "axis", 0),)
    if (stated := wholes(node, "axes")) is not None:
        return stated
    return None if len(numbers) < 2 or numbers[1] is None else tuple(int(a) for a in numbers[1].reshape(-1))


def _flatten(node: ir.Node, shapes: Sequence[Shape | None], _: Sequence[Numbers | None]) -> Shape | None:
    axis, x = integer(node, "axis", 1), shapes[0]
    return None if x is None else (math.prod(x[:axis]), math.prod(x[axis:]))


def _concat(node: ir.Node, shapes: Sequence[Shape | None], _: Sequence[Numbers | None]) -> Shape | None:
    known = [s for s in shapes if s is not None]
    if not known or len(known) < len(shapes):
        return None
    axis = integer(node, "axis", 0) % len(known[0])
    return (*known[0][:axis], sum(s[axis] for s in known), *known[0][axis + 1 :])


def _slice(node: ir.Node, shapes: Sequence[Shape | None], numbers: Sequence[Numbers | None]) -> Shape | None:
    x, bounds = shapes[0], [None if n is None else [int(i) for i in n.reshape(-1)] for n in numbers[1:]]
    if x is None or len(bounds) < 2 or None in bounds:
        return None
    starts, ends, axes, steps = (*bounds, None, None)[:4]
    assert starts is not None and ends is not None
    dims = list(x)
    for i, axis in enumerate(axes if axes is not None else range(len(starts))):
        dims[axis] = len(range(*slice(starts[i], ends[i], steps[i] if steps else 1).indices(x[axis])))
    return tuple(dims)


def _expand(_: ir.Node, shapes: Sequence[Shape | None], numbers: Sequence[Numbers | None]) -> Shape | None:
    x, wanted = shapes[0], numbers[1]
    return None if x is None or wanted is None else np.broadcast_shapes(x, tuple(int(d) for d in wanted))


def _tile(_: ir.Node, shapes: Sequence[Shape | None], numbers: Sequence[Numbers | None]) -> Shape | None:
    x, times = shapes[0], numbers[1]
    return None if x is None or times is None else tuple(d * int(n) for d, n in zip(x, times, strict=True))


def _gather_nd(node: ir.Node, shapes: Sequence[Shape | None], _: Sequence[Numbers | None]) -> Shape | None:
    data, ids = shapes[:2]
    if data is None or ids is None:
        return None
    return (*ids[:-1], *data[integer(node, "batch_dims", 0) + ids[-1] :])


def _recurrent(node: ir.Node, shapes: Sequence[Shape | None], _: Sequence[Numbers | None]) -> Shape | None:
    """The first output: every step's state, (length, directions, batch, hidden)."""
    x, directions = shapes[0], 2 if _text(node, "direction") == "bidirectional" else 1
    hidden = integer(node, "hidden_size", 0)
    if x is None or not hidden or len(x) != 3:
        return None
    return (x[0], x[1], directions, hidden) if integer(node, "layout", 0) else (x[0], directions, x[1], hidden)


def _text(node: ir.Node, name: str) -> str:
    return node.attributes[name].as_string() if name in node.attributes else ""


SHAPES: dict[str, Rule] = {
    **dict.fromkeys(_SAME.split(), lambda node, shapes, numbers: shapes[0]),
    **dict.fromkeys(BROADCAST, lambda node, shapes, numbers: broadcast(shapes)),
    **PRODUCTS,
    **dict.fromkeys(("Gather", "GatherBlockQuantized"), _gather),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    **dict.fromkeys(("Attention", "MultiHeadAttention"), _attention),
    "Concat": _concat,
    "ConstantOfShape": lambda node, shapes, numbers: None if numbers[0] is None else tuple(map(int, numbers[0])),
    "Expand": _expand,
    "Flatten": _flatten,
    "GatherND": _gather_nd,
    "GatherElements": lambda node, shapes, numbers: shapes[1],
    "Reshape": _reshape,
    "Shape": lambda node, shapes, numbers: None if shapes[0] is None else (len(shapes[0]),),
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

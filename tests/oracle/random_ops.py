"""Nodes that a random graph is made of, each a function that adds one or a few to a scope if it finds their inputs.

Chosen for what decides about placement: operators with and without CUDA kernels, kernels for some types only, shape
chains and what ends them, host arguments, initializers around the limit of 100 elements, functions, casts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from oracle.scope import FLOATS, IDS, MASK, OTHER, SCALAR, SEQUENCE, SHAPE, Scope

INT64 = TensorProto.INT64
Step = Callable[[Scope, str, str], object]

UNARY = (
    "Relu Neg Abs Sigmoid Tanh Exp Sqrt Erf Softmax LogSoftmax Floor Ceil Sin Cos Identity Gelu HardSwish Softplus "
    "Softsign Elu Selu LeakyRelu Reciprocal Tan Asin Hardmax Log Celu Mish ThresholdedRelu Round HardSigmoid Sign "
    "Shrink"
).split()
BINARY = ("Add", "Mul", "Sub", "Div", "MatMul", "PRelu", "Max", "Min", "Pow", "Mean")
CONTRIBUTED = ("FastGelu", "QuickGelu", "Trilu", "BiasGelu", "FusedMatMul", "Gelu", "SkipLayerNormalization")


def unary(g: Scope, x: str, kind: str) -> None:
    g.node(g.rng.choice(UNARY), [x], kind)


def binary(g: Scope, x: str, kind: str) -> None:
    g.node(g.rng.choice(BINARY), [x, g.pick(kind) or x], kind)


def shape_of(g: Scope, x: str, kind: str) -> None:
    g.node("Shape", [g.pick(g.rng.choice([*FLOATS, IDS])) or x], SHAPE)


def size_of(g: Scope, x: str, kind: str) -> None:
    g.node("Size", [x], SCALAR)


def shape_arithmetic(g: Scope, x: str, kind: str) -> None:
    shape = g.pick(SHAPE)
    if shape is None:
        return
    other = g.pick(SHAPE) or shape
    first = [g.integer([0]), g.integer([1]), g.integer([0])]
    steps: list[Callable[[], object]] = [
        lambda: g.node("Gather", [shape, g.integer(g.rng.choice([0, 1]))], SCALAR, axis=0),
        lambda: g.node(g.rng.choice(["Mul", "Add", "Max", "Div"]), [shape, other], SHAPE),
        lambda: g.node("Slice", [shape, g.integer([0]), g.integer([2]), g.integer([0])], SHAPE),
        lambda: g.node("Where", [g.node("Equal", [shape, g.integer([1, 1])], OTHER), shape, other], SHAPE),
        lambda: g.node("Concat", [g.node("Slice", [shape, *first], OTHER), g.integer([-1])], SHAPE, axis=0),
        lambda: g.node("Cast", [g.node("Cast", [shape], OTHER, to=TensorProto.FLOAT)], SHAPE, to=INT64),
        lambda: g.node("Identity", [shape], SHAPE),
        lambda: g.node("ReduceProd", [shape], SCALAR, keepdims=0),
        lambda: g.node("Clip", [shape, "", g.integer(7)], SHAPE),
        lambda: g.node("CastLike", [shape, other], SHAPE),
    ]
    g.rng.choice(steps)()


def scalar_arithmetic(g: Scope, x: str, kind: str) -> None:
    scalar = g.pick(SCALAR)
    if scalar is None:
        return
    other = g.pick(SCALAR) or scalar
    zero, one = g.integer(0), g.integer(1)
    steps: list[Callable[[], object]] = [
        lambda: g.node(g.rng.choice(["Add", "Mul", "Sub", "Mod"]), [scalar, other], SCALAR),
        lambda: g.node("Add", [scalar, g.integer(3)], SCALAR),
        lambda: g.node("Concat", [_vector(g, scalar), _vector(g, other)], SHAPE, axis=0),
        lambda: g.node("Range", [zero, scalar, one], OTHER),
    ]
    g.rng.choice(steps)()


def _vector(g: Scope, scalar: str) -> str:
    return g.node("Unsqueeze", [scalar, g.integer([0])], OTHER)


def by_shape(g: Scope, x: str, kind: str) -> None:
    """Operators that read a shape from host memory."""
    shape = g.pick(SHAPE)
    if shape is None:
        return
    op_type = g.rng.choice(["Reshape", "Reshape", "Expand", "Tile", "ConstantOfShape"])
    if op_type == "ConstantOfShape":
        g.node(op_type, [shape], "float")
    else:
        g.node(op_type, [x, shape], kind)


def integer_matrix(g: Scope, x: str, kind: str) -> None:
    ids = g.pick(IDS)
    if ids is None:
        return
    scalar = g.pick(SCALAR)
    table = g.integer(np.arange(g.rng.choice([4, 100, 101, 200])).reshape(1, -1))
    steps: list[Callable[[], object]] = [
        lambda: g.node(g.rng.choice(["Mul", "Add"]), [ids, scalar or ids], IDS),
        lambda: g.node("Add", [ids, g.pick(IDS) or ids], IDS),
        lambda: g.node("Cast", [ids], "float", to=TensorProto.FLOAT),
        lambda: g.node("Mul", [ids, table], IDS),
        lambda: g.node("Equal", [ids, g.pick(IDS) or ids], MASK),
        lambda: g.node("CumSum", [ids, g.integer(1)], IDS),
        lambda: g.node("NonZero", [x], IDS),
    ]
    g.rng.choice(steps)()


def cast(g: Scope, x: str, kind: str) -> None:
    to = g.rng.choice(list(FLOATS))
    g.node("Cast", [x], to, to=FLOATS[to])


def cast_like(g: Scope, x: str, kind: str) -> None:
    to = g.float_kind() or kind
    g.node("CastLike", [x, g.pick(to) or x], to)


def mask(g: Scope, x: str, kind: str) -> None:
    chosen, other = g.pick(MASK), g.pick(kind) or x
    if chosen is None:
        g.node(g.rng.choice(["Less", "Greater", "GreaterOrEqual", "LessOrEqual"]), [x, other], MASK)
        return
    steps: list[Callable[[], object]] = [
        lambda: g.node("Where", [chosen, x, other], kind),
        lambda: g.node(g.rng.choice(["And", "Or", "Xor"]), [chosen, g.pick(MASK) or chosen], MASK),
        lambda: g.node("Not", [chosen], MASK),
    ]
    g.rng.choice(steps)()


def norm(g: Scope, x: str, kind: str) -> None:
    op_type = "LayerNormalization" if g.rng.random() < 0.7 else "SimplifiedLayerNormalization"
    g.node(op_type, [x, g.constant(np.ones(4), FLOATS[kind])], kind)


def contributed(g: Scope, x: str, kind: str) -> None:
    op_type = g.rng.choice(CONTRIBUTED)
    scale = g.constant(np.ones(4), FLOATS[kind])
    inputs = {
        "BiasGelu": [x, scale],
        "FusedMatMul": [x, g.pick(kind) or x],
        "SkipLayerNormalization": [x, g.pick(kind) or x, scale],
    }.get(op_type, [x])
    skips = op_type == "SkipLayerNormalization" and g.rng.random() < 0.5
    g.node(op_type, inputs, *([kind, "", "", kind] if skips else [kind]), domain="com.microsoft")


def sequence(g: Scope, x: str, kind: str) -> None:
    found = g.pick(SEQUENCE)
    if found is None or g.rng.random() < 0.4:
        if kind == "float":
            g.node("SplitToSequence", [x], SEQUENCE, axis=1)
    elif g.rng.random() < 0.6:
        g.node("SequenceAt", [found, g.integer(0)], "float")
    else:
        g.node("SequenceLength", [found], SCALAR)


def reduction(g: Scope, x: str, kind: str) -> None:
    if g.rng.random() < 0.4:
        g.node("ReduceSum", [x, g.integer([1])], kind, keepdims=1)
    else:
        g.node(g.rng.choice(["ReduceMax", "ReduceL2", "ReduceMean"]), [x], kind, keepdims=1)


def other_float(g: Scope, x: str, kind: str) -> None:
    count = g.pick(SCALAR)
    steps: list[Callable[[], object]] = [
        lambda: g.node("Dropout", [x], kind),
        lambda: g.node("Transpose", [x], kind, perm=[1, 0]),
        lambda: g.node("Concat", [x, g.pick(kind) or x], kind, axis=1),
        lambda: g.node("Clip", [x, "", g.constant(1.0, FLOATS[kind])], kind),
        lambda: g.node("TopK", [x, _vector(g, count) if count else g.integer([1])], kind, IDS),
        lambda: g.node("Pad", [x, g.integer([0, 0, 1, 1])], kind),
        lambda: g.node("ArgMax", [x], IDS, select_last_index=g.rng.choice([0, 1])),
        lambda: g.node("GatherND", [x, g.integer([[0]])], OTHER),
        lambda: g.node("Trilu", [x], kind),
    ]
    g.rng.choice(steps)()


def quantized(g: Scope, x: str, kind: str) -> None:
    # ONNX Runtime 1.31 aborts (vector index) on LayerNormalization without bias -> QuantizeLinear -> DequantizeLinear
    if kind != "float" or "layernormalization" in x:
        return
    if g.rng.random() < 0.5:
        g.node("DynamicQuantizeLinear", [x], OTHER, OTHER, OTHER)
        return
    scale, zero = g.constant(0.1, FLOATS[kind]), g.constant(1, TensorProto.UINT8)
    g.node("DequantizeLinear", [g.node("QuantizeLinear", [x, scale, zero], OTHER), scale, zero], kind)


STEPS: dict[Step, int] = {
    unary: 12,
    binary: 10,
    shape_of: 8,
    shape_arithmetic: 8,
    scalar_arithmetic: 5,
    by_shape: 7,
    integer_matrix: 6,
    cast: 5,
    cast_like: 3,
    mask: 4,
    norm: 4,
    contributed: 4,
    sequence: 4,
    reduction: 3,
    other_float: 8,
    quantized: 2,
    size_of: 4,
}
"""How often each is tried, relative to the others."""

"""Random graphs from a seed: every one valid, typed and small, all rules of placement in play.

Operator sets 13 to 22; float32, float16, bfloat16, float64 and integers mixed; If and Loop, nested, reading the graphs
around them; sequences; contributed operators; local functions; initializers of 4 to 200 elements; omitted arguments.
"""

from __future__ import annotations

import random

import numpy as np
import onnx
from onnx import TensorProto, helper

from oracle.random_functions import wrap_in_functions
from oracle.random_ops import STEPS
from oracle.scope import DECLARED, FLOATS, IDS, MASK, OTHER, SCALAR, SHAPE, Scope, declare

OPSETS = (13, 14, 17, 18, 19, 20, 21, 22)
MIXES = (
    ("float",),
    ("float",),
    ("float", "float16"),
    ("float16",),
    ("float", "bfloat16"),
    ("bfloat16", "float", "float16"),
    ("float", "double"),
)
OPTIONAL_INPUTS = {IDS: 0.7, SHAPE: 0.4, SCALAR: 0.3, MASK: 0.3}
DEEPEST = 2
CONTROL_FLOW = 0.06


def random_model(seed: int, functions: bool = False) -> onnx.ModelProto:
    """The model of a seed, always the same one for a version of this generator; `functions`: some of its nodes as calls
    of local functions."""
    rng = random.Random(seed)
    g = Scope(rng, rng.choice(OPSETS))
    _values(g)
    for _ in range(rng.randint(4, 40)):
        _step(g)
    if not _outputs(g):
        g.node("Neg", [g.pick(g.float_kind() or "float") or ""], g.float_kind() or "float")
    graph = helper.make_graph(g.nodes, "random graph", g.inputs, _outputs(g), g.initializers)
    imports = [helper.make_opsetid("", g.opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, ir_version=10, opset_imports=imports)
    if functions:
        wrap_in_functions(model, rng)
    return model


def _values(g: Scope) -> None:
    kinds = g.rng.choice(MIXES)
    for kind in kinds:
        g.input(kind)
    for kind, chance in OPTIONAL_INPUTS.items():
        if g.rng.random() < chance:
            g.input(kind)
    for kind in kinds:
        if g.rng.random() < 0.5:
            g.constant(np.ones((4, g.rng.choice([4, 30]))), FLOATS[kind], kind)
    if g.rng.random() < 0.4:
        g.constant(np.arange(g.rng.choice([4, 200])).reshape(1, -1), TensorProto.INT64, IDS)


def _outputs(g: Scope) -> list[onnx.ValueInfoProto]:
    """What nothing in the main graph reads, and a few others."""
    used = {name for node in g.nodes for name in node.input}
    ends = [(v, kind) for v, kind in g.computed if kind in DECLARED and (v not in used or g.rng.random() < 0.1)]
    return [declare(v, kind, shaped=False) for v, kind in ends]


def _step(g: Scope) -> None:
    kind = g.float_kind()
    x = g.pick(kind) if kind else None
    if kind is None or x is None:
        return
    if g.depth < DEEPEST and g.rng.random() < CONTROL_FLOW:
        (_branch if g.rng.random() < 0.55 else _loop)(g, x, kind)
        return
    step = g.rng.choices(list(STEPS), list(STEPS.values()))[0]
    step(g, x, kind)


def _branch(g: Scope, x: str, kind: str) -> None:
    count = g.pick(SCALAR)
    if count is not None and g.rng.random() < 0.6:
        condition = g.node("Greater", [count, g.integer(1)], OTHER)
    else:
        condition = g.root.fresh("flag")
        g.root.inputs.append(helper.make_tensor_value_info(condition, TensorProto.BOOL, []))
    bodies = {name: _body(g, x, kind, None) for name in ("then_branch", "else_branch")}
    g.node("If", [condition], kind, **bodies)


def _loop(g: Scope, x: str, kind: str) -> None:
    count = g.pick(SCALAR) or g.integer(3)
    inner = Scope(g.rng, g.opset, g, g.fresh("body") + "_")
    step, go, carried = inner.add(inner.fresh("step"), SCALAR), inner.fresh("go"), inner.add(inner.fresh("x"), kind)
    inner.inputs = [
        declare(step, SCALAR),
        helper.make_tensor_value_info(go, TensorProto.BOOL, []),
        declare(carried, kind),
    ]
    body = _body(g, x, kind, (inner, go))
    condition = g.rng.choice(["", g.constant(True, TensorProto.BOOL)])
    g.node("Loop", [count, condition, x], kind, body=body)


def _body(g: Scope, x: str, kind: str, loop: tuple[Scope, str] | None) -> onnx.GraphProto:
    """A body whose last output is of a kind; a Loop's also hands on its condition."""
    inner = loop[0] if loop else Scope(g.rng, g.opset, g, g.fresh("body") + "_")
    for _ in range(g.rng.randint(1, 7)):
        _step(inner)
    result = inner.fresh("result")
    source = inner.pick(kind) or x
    inner.nodes.append(
        helper.make_node(g.rng.choice(["Identity", "Relu", "Neg"]), [source], [result], inner.fresh("n"))
    )
    outputs = [declare(result, kind, shaped=False)]
    if loop:
        again = inner.fresh("again")
        inner.nodes.append(helper.make_node("Identity", [loop[1]], [again], inner.fresh("n")))
        outputs.insert(0, helper.make_tensor_value_info(again, TensorProto.BOOL, []))
    return helper.make_graph(inner.nodes, g.fresh("graph"), inner.inputs, outputs, inner.initializers)

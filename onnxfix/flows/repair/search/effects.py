"""What each linear in 8 bits does to the outputs by itself: the order in which to keep them in float.

How noisy a layer's own result is says little of that: of MiniLM's 36 linears 15 have to stay in float for an error of
0.05, and 26 of the noisiest. One graph holds each product twice, the second time with its operands rounded, and a gate
that chooses: a run for each gate, on small feeds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.site import label
from onnxfix.nouns.types.operators import integer
from onnxfix.surgery.sites.linear import linears

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.eval.run.runners import Runner

Array = np.ndarray[Any, Any]

# Seconds after which no further layer is tried: the rest are kept last, in their order.
MOST_S = 30.0
FEEDS = 2
_OLDEST_OPSET, _AXES_AS_INPUT = 11, 18  # DynamicQuantizeLinear; axes of ReduceMax
_GATES = "gates of layers in 8 bits"
_LEAST = 1e-30


def ranked(
    model: Model, nodes: Sequence[ir.Node], feeds: Sequence[Feed], scheme: str, levels: int
) -> dict[ir.Node, float]:
    """Linears and their effects on the outputs, the largest first, 0.0 for an unknown one. `levels`: integers on each
    side of zero that a weight may have; activations are rounded too but where the `scheme` is weight-only."""
    found = _effects(model, nodes, _smallest(feeds), scheme != "weight-only", levels)
    effects = {node: found.get(label(node), 0.0) for node in nodes}
    return dict(sorted(effects.items(), key=lambda pair: -pair[1]))


def left(effects: Sequence[float], limit: float) -> int:
    """How many of the first have to go until the rest make no more than a limit together, as noise adds up."""
    rest = np.sqrt(np.cumsum(np.square(effects[::-1]))[::-1])
    return int(np.count_nonzero(rest > limit))


def _smallest(feeds: Sequence[Feed]) -> list[Feed]:
    return sorted(feeds, key=lambda feed: sum(array.size for array in feed.arrays.values()))[:FEEDS]


def _effects(
    model: Model, nodes: Sequence[ir.Node], feeds: Sequence[Feed], activations: bool, levels: int
) -> dict[str, float]:
    """Label → relative L2 error of the outputs, as far as that can be told, and time allows."""
    from onnxfix.eval.run.runners import OrtRunner
    from onnxfix.eval.run.session import on_disk

    if model.opset < _OLDEST_OPSET:
        return {}
    probe = model.clone()
    gated = _with_gates(probe, {label(node) for node in nodes}, activations, levels)
    if not gated:
        return {}
    begun, found = time.monotonic(), {}
    try:
        with on_disk(probe) as path:
            runner = OrtRunner(path, level="basic", custom_op_libraries=model.custom_op_libraries)
            plain = [_run(runner, feed, len(gated)) for feed in feeds]
            for index, name in enumerate(gated):
                pairs = zip(plain, (_run(runner, feed, len(gated), index) for feed in feeds), strict=True)
                found[name] = float(np.sqrt(np.mean([_error(one, other) ** 2 for one, other in pairs])))
                if time.monotonic() - begun > MOST_S:
                    break
            runner.close()
    except OnnxfixError:  # a kernel that the CPU lacks without optimisation, or no memory: nothing is known then
        return {}
    return found


def _run(runner: Runner, feed: Feed, count: int, gate: int | None = None) -> Mapping[str, Array]:
    return runner.run({**feed.arrays, _GATES: np.arange(count) == gate})


def _error(plain: Mapping[str, Array], other: Mapping[str, Array]) -> float:
    """Of the worst output; what is lost counts as all of it."""
    from onnxfix.eval.numerics.compare import difference

    found = [difference("", name, array, other[name]) for name, array in plain.items()]
    return max((1.0 if d.new_nonfinite else d.rel_l2 for d in found if d.rel_l2 == d.rel_l2), default=0.0)


def _with_gates(probe: Model, wanted: set[str], activations: bool, levels: int) -> list[str]:
    """Labels of the linears of the main graph that have a gate now, in the order of the gates."""
    float32 = [each.node for each in linears.find(probe) if not each.quantized and each.node.graph is probe.graph
               and linears.weight_type(each) == ir.DataType.FLOAT]  # fmt: skip
    nodes = [node for node in float32 if label(node) in wanted and node.op_type in linears.FLOAT_PRODUCTS
             and _reads_weight_second(node)]  # fmt: skip
    gates = ir.Input(_GATES, shape=ir.Shape([len(nodes)]), type=ir.TensorType(ir.DataType.BOOL))
    if nodes:
        probe.graph.inputs.append(gates)
    named = [label(node) for node in nodes]
    for index, node in enumerate(nodes):
        _gate(node, gates, index, activations, levels, probe.opset)
    return named


def _reads_weight_second(node: ir.Node) -> bool:
    """Whether the other operand is an activation, made in the main graph or fed."""
    value = node.inputs[0]
    return value is not None and not value.is_initializer() and not integer(node, "transA", 0)


def _gate(node: ir.Node, gates: ir.Value, index: int, activations: bool, levels: int, opset: int) -> None:
    """The product again with its operands rounded, which readers get where the gate is open."""
    from onnxfix.eval.numerics.insertion import Insertion

    add = Insertion(node, "in_8_bits")
    x, weight = node.inputs[:2]
    axis = -1 if integer(node, "transB", 0) else -2
    size = add.node("Abs", weight)
    if opset >= _AXES_AS_INPUT:
        reach = add.node("ReduceMax", size, add.integers(axis), keepdims=1)
    else:
        reach = add.node("ReduceMax", size, axes=[axis], keepdims=1)
    step = add.node("Max", add.node("Div", reach, add.constant(np.array(levels, np.float32), "levels")),
                    add.constant(np.array(_LEAST, np.float32), "least"))  # fmt: skip
    rounded = add.node("Mul", add.node("Round", add.node("Div", weight, step)), step)
    if activations:
        x = add.node("DequantizeLinear", *add.node("DynamicQuantizeLinear", x, outputs=3))
    again = add.detached(node.op_type, x, rounded, *node.inputs[2:])
    for attribute in node.attributes.values():
        again.attributes.add(attribute)
    opened = add.detached("Gather", gates, add.constant(np.array(index, np.int64), "gate"))
    chosen = add.detached("Where", opened.outputs[0], again.outputs[0], node.outputs[0])
    node.append([again, opened, chosen])
    readers = [use for use in node.outputs[0].uses() if use.node is not chosen]
    for use in readers:
        use.node.replace_input_with(use.idx, chosen.outputs[0])
    if node.outputs[0].is_graph_output():
        add.replace(node.outputs[0], chosen.outputs[0])
        chosen.replace_input_with(2, node.outputs[0])

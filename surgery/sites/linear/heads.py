"""Heads: the last, small linears of a classifier, which decide the classes and whose weights are next to nothing."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.constants import trace

from .linears import Linear

# What stands between a head and the model's output: a bias, a shape, a probability.
_BEHIND = frozenset(
    # tokens of a packed batch, put back in their places with zeros elsewhere
    "Where CastLike "
    "Add Reshape Squeeze Unsqueeze Flatten Transpose Identity Cast Slice Split Gather Concat Softmax LogSoftmax "
    "Sigmoid Tanh Mul Div ArgMax TopK".split()
)
# Of all weights of linears. A vocabulary's output layer is 2 % of a 7B model and a third of a small one: no head.
SMALL = 0.01
# And all heads together: a model of many small linears alone has no encoder beside them.
SMALL_TOGETHER = 0.1


def find(found: Collection[Linear], graph: ir.Graph) -> set[ir.Node]:
    """The nodes of those linears whose result reaches outputs of the model only, unmixed with other activations.

    `graph`: the model's main graph. What the body of an If or Loop gives is an output of no model.
    """
    total = sum(linear.elements for linear in found)
    small = [x for x in found if x.elements <= SMALL * total and _ends(x.node.outputs[0], graph, set())]
    return {x.node for x in small} if sum(x.elements for x in small) <= SMALL_TOGETHER * total else set()


def _ends(value: ir.Value, graph: ir.Graph, seen: set[ir.Value]) -> bool:
    """Whether all that reads a value leads to outputs of the model, past operators that mix in constants alone."""
    if value in seen:
        return True
    seen.add(value)
    readers = value.consumers()
    is_output = any(value is output for output in graph.outputs)
    if is_output != value.is_graph_output() or not (readers or is_output):
        return False
    for node in readers:
        others = [v for v in node.inputs if v is not None and v is not value and v not in seen]
        if node.op_type not in _BEHIND or not is_standard(node):
            return False
        mixed = others[1:] if node.op_type == "Where" else others if node.op_type in ("Add", "Mul", "Div") else []
        if any(trace(v) is None and not _is_zero(v) for v in mixed):
            return False
        if not all(_ends(v, graph, seen) for v in node.outputs if v.uses() or v.is_graph_output()):
            return False
    return True


def _is_zero(value: ir.Value) -> bool:
    """A constant in the type of something else."""
    node = value.producer()
    return node is not None and node.op_type == "CastLike" and is_standard(node) and trace(node.inputs[0]) is not None

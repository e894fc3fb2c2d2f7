"""Guards: what keeps a divisor or a logarithm's operand from 0 by a number that is 0 in half precision.

`log(p + 1e-9)` is right where the sum is in fp32, and -inf again where its result is rounded in front of the logarithm.
So what reads a guard stays in fp32 as well, up to where its result is of a size that half holds. A share of 1e-9 is 0
in half without any guard, and its logarithm -inf.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir

from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import is_standard

from .half_types import vanishing
from .movement import MOVEMENT

OF_A_SHARE = "logarithm of a share, which half may not hold"
REASON = "reads a guard that is 0 in half"
# What comes behind them is about as large as what goes in, or the root or the inverse of it.
_HAND_ON = MOVEMENT | {"Sqrt", "Pow", "Reciprocal", "Neg", "Abs", "Max", "Min", "Clip", "Where"}
_SHARES = frozenset({"Softmax", "Sigmoid"})
_INVERSE = frozenset({"Reciprocal", "Pow"})
_DEPTH = 8


def find(nodes: Iterable[ir.Node], types: ElementTypes) -> dict[ir.Node, str]:
    """Guards and what reads them, each with its reason, where they are fp32."""
    found: dict[ir.Node, str] = {}
    for node in nodes:
        if node.op_type == "Log" and is_standard(node) and types.is_float32(node.outputs[0]):
            found |= dict.fromkeys(_of_a_share(node), OF_A_SHARE)
        if node.op_type == "Where" and is_standard(node) and types.is_float32(node.outputs[0]):
            if (constant := vanishing(node)) is not None:
                found[node] = f"its constant {constant:g} is 0 in half"
        elif node.op_type not in ("Add", "Max", "Clip") or not is_standard(node) or vanishing(node) is None:
            continue
        for reader in _readers(node, False):
            if any(types.is_float32(value) for value in reader.outputs):
                found.setdefault(reader, REASON)
    return found


def _of_a_share(log: ir.Node) -> list[ir.Node]:
    """A logarithm of a probability, and what makes that; nothing for any other."""
    nodes = [log]
    while len(nodes) < _DEPTH:
        value = nodes[-1].inputs[0]
        node = value.producer() if value is not None else None
        if node is None or not is_standard(node) or node.op_type not in MOVEMENT | _SHARES:
            return []
        nodes.append(node)
        if node.op_type in _SHARES:
            return nodes
    return []


def _readers(node: ir.Node, inverse: bool, depth: int = 0) -> Iterator[ir.Node]:
    """`inverse`: what is read is 1 by a small number, which half holds as little."""
    for use in node.outputs[0].uses() if depth < _DEPTH else ():
        reader = use.node
        if not is_standard(reader):
            continue
        divides = (reader.op_type == "Div" and use.idx == 1) or (reader.op_type == "Mul" and inverse)
        if reader.op_type == "Log" or divides:
            yield reader
        elif reader.op_type in _HAND_ON:
            yield reader
            yield from _readers(reader, inverse or reader.op_type in _INVERSE, depth + 1)

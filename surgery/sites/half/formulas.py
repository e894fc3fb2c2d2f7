"""Formulas that are right in fp32 and pass an end of half's range on their way: small guards, shares, exponentials.

`log(p + 1e-9)` is right where the sum is in fp32, and -inf again where its result is rounded in front of the logarithm.
So what reads a guard that is 0 in half stays in fp32 as well, up to where its result is of a size that half holds. A
share of 1e-9 is 0 in half without any guard, and its logarithm -inf. An exponential is infinite from 11.1 on: harmless
in `1 / (1 + exp(-x))`, and not where its logarithm, or a quotient of two of them, brings the result back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir

from onnxfix.nouns.types.element_types import ElementTypes
from onnxfix.nouns.types.operators import is_standard

from .half_types import vanishing
from .movement import MOVEMENT

REASON = "reads a guard that is 0 in half"
OF_A_SHARE = "logarithm of a share, which half may not hold"
OF_AN_EXPONENTIAL = "exponential that passes 65,504 on its way"
# What comes behind them is about as large as what goes in, or the root or the inverse of it.
_HAND_ON = MOVEMENT | {"Sqrt", "Pow", "Reciprocal", "Neg", "Abs", "Max", "Min", "Clip", "Where"}
_INVERSE = frozenset({"Reciprocal", "Pow"})
_SHARES = frozenset({"Softmax", "Sigmoid"})
_SUMS = MOVEMENT | {"Add", "Sub", "Mul", "ReduceSum", "Sum"}
# Of what they make an exponential is 1 at most.
_NOT_POSITIVE = frozenset({"Neg"})
_NOT_NEGATIVE = frozenset("Mul Pow Abs Relu ReduceSumSquare ReduceL2 ReduceL1 Sqrt Softplus ReduceSum".split())
_DEPTH = 8

Found = dict[ir.Node, str]


def find(nodes: Iterable[ir.Node], types: ElementTypes) -> Found:
    """Nodes of such formulas, each with its reason, where they are fp32."""
    found: Found = {}
    for node in nodes:
        if not is_standard(node) or not node.outputs or not types.is_float32(node.outputs[0]):
            continue
        if node.op_type == "Log":
            found |= dict.fromkeys(_of_a_share(node), OF_A_SHARE)
        elif node.op_type == "Exp" and not _is_bounded(node):
            found |= dict.fromkeys(_brought_back(node), OF_AN_EXPONENTIAL)
        elif (constant := _guards(node)) is not None:
            if node.op_type == "Where":
                found[node] = f"its constant {constant:g} is 0 in half"
            for reader in _readers(node, False):
                if any(types.is_float32(value) for value in reader.outputs):
                    found.setdefault(reader, REASON)
    return found


def _guards(node: ir.Node) -> float | None:
    return vanishing(node) if node.op_type in ("Add", "Max", "Clip", "Where") else None


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


def _of_a_share(log: ir.Node) -> list[ir.Node]:
    """A logarithm of a probability, and what makes that; nothing for any other."""
    nodes = [log]
    while len(nodes) < _DEPTH:
        node = _producer(nodes[-1].inputs[0])
        if node is None or node.op_type not in MOVEMENT | _SHARES:
            return []
        nodes.append(node)
        if node.op_type in _SHARES:
            return nodes
    return []


def _is_bounded(exponential: ir.Node) -> bool:
    """Whether its argument shows that it is 1 at most, or has a largest value."""
    node = _producer(exponential.inputs[0])
    if node is None:
        return False
    if node.op_type in _NOT_POSITIVE:
        inner = _producer(node.inputs[0])
        return inner is not None and inner.op_type in _NOT_NEGATIVE
    if node.op_type == "Sub":
        largest = _producer(node.inputs[1])
        return largest is not None and largest.op_type in ("ReduceMax", "Max")
    return node.op_type in ("Clip", "Min", "Tanh", "Sigmoid")


def _brought_back(exponential: ir.Node) -> list[ir.Node]:
    """The exponential and what is between it and a logarithm, or a quotient that it is on top of as well as below;
    nothing where there is neither."""
    kept: dict[ir.Node, None] = {}
    for path, end, index in _paths(exponential, (exponential,)):
        if end.op_type == "Log" or (end.op_type == "Div" and _sums_exponentials(end.inputs[1 - index])):
            kept |= dict.fromkeys((*path, end))
    return list(kept)


def _paths(node: ir.Node, path: tuple[ir.Node, ...]) -> Iterator[tuple[tuple[ir.Node, ...], ir.Node, int]]:
    for use in node.outputs[0].uses() if len(path) < _DEPTH else ():
        reader = use.node
        if not is_standard(reader):
            continue
        if reader.op_type in ("Log", "Div"):
            yield path, reader, use.idx
        elif reader.op_type in _SUMS:
            yield from _paths(reader, (*path, reader))


def _sums_exponentials(value: ir.Value | None, depth: int = 0) -> bool:
    node = _producer(value)
    if node is None or depth >= _DEPTH:
        return False
    return node.op_type == "Exp" or (
        node.op_type in _SUMS and any(_sums_exponentials(each, depth + 1) for each in node.inputs)
    )


def _producer(value: ir.Value | None) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and is_standard(node) else None

"""The nodes that a value is computed by, cut where a shape of an activation, or a score, comes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.types.operators import is_standard
from onnxfix.surgery.sites.constants import constant_tensor

from ..dependence import SIZES, Dependence, reads
from ..mask import RefusedError


@dataclass(frozen=True)
class Cone:
    """`nodes` in an order to run in; `sources`: inputs of the graph that they read; `leaves`: values that are given
    instead of computed; `sized`: nodes that read the shape of an activation, whose results are given, too;
    `constants`: what else they read."""

    target: ir.Value
    nodes: tuple[ir.Node, ...]
    sources: tuple[ir.Value, ...]
    leaves: tuple[ir.Value, ...]
    sized: tuple[ir.Node, ...]
    constants: tuple[ir.Value, ...]


def of(target: ir.Value, leaves: Sequence[ir.Value], dependence: Dependence) -> Cone:
    """The cone of a value that, but for the leaves, depends on no activation. Raises RefusedError at a Loop, which may
    have no end for numbers that it was not made for."""
    nodes: dict[ir.Node, None] = {}
    found: dict[ir.Value, None] = {}
    constants: dict[ir.Value, None] = {}
    sized: dict[ir.Node, None] = {}
    pending = [(target, False)]
    while pending:
        value, done = pending.pop()
        node = value.producer()
        if value in leaves or (node is not None and node in nodes):
            continue
        if constant_tensor(value) is not None:
            constants[value] = None
        elif node is None:
            found[value] = None
        elif node.op_type == "Loop":
            raise RefusedError(node, "is computed by a Loop")
        elif done:
            nodes[node] = None
        elif _is_sized(node, leaves, dependence):
            sized[node] = None
        else:
            pending.append((value, True))
            pending.extend((v, False) for v in reads(node))
    return Cone(target, tuple(nodes), tuple(found), tuple(leaves), tuple(sized), tuple(constants))


def _is_sized(node: ir.Node, leaves: Sequence[ir.Value], dependence: Dependence) -> bool:
    if node.op_type not in SIZES or not is_standard(node) or node.inputs[0] is None:
        return False
    return node.inputs[0] in leaves or dependence.is_activation(node.inputs[0])

"""Operators by torch module in both graphs, and like changes of several layers as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from onnxfix.nouns.types.element_types import ElementTypes

from .altered import type_change
from .changes import Altered, Change, Count, Modules, Retyped
from .digests import operator
from .scopes import Scopes

MOVEMENT = frozenset(
    "Cast CastLike Concat ConcatFromSequence Constant ConstantOfShape Expand Flatten Gather GatherElements GatherND "
    "Identity Range Reshape ScatterElements ScatterND SequenceAt SequenceConstruct SequenceEmpty SequenceInsert Shape "
    "Size Slice Split SplitToSequence Squeeze Tile Transpose Unsqueeze".split()
)
"""Operators that put numbers elsewhere, and the arithmetic of shapes: what is listed last."""


def named(node: ir.Node) -> str:
    """An operator as reports name it."""
    domain, op_type = operator(node)
    return f"{domain}.{op_type}" if domain else op_type


def counts(before: Iterable[ir.Node], after: Iterable[ir.Node]) -> tuple[Count, ...]:
    """Of all operators that either has: those that compute first, and of these the most changed."""
    ours, theirs = Counter(map(named, before)), Counter(map(named, after))
    found = [Count(name, ours[name], theirs[name]) for name in sorted({*ours, *theirs})]
    return tuple(sorted(found, key=lambda c: (c.op_type in MOVEMENT, -abs(c.after - c.before))))


def modules(
    nodes: Sequence[Sequence[ir.Node]], scopes: tuple[Scopes, Scopes], pairs: Mapping[ir.Node, ir.Node],
    altered: Mapping[ir.Node, Sequence[str]], types: tuple[ElementTypes, ElementTypes],
) -> Modules:  # fmt: skip
    """All modules, in the order of the first graph, those that only the second has behind them. `altered`: what differs
    in each paired node of the first."""
    members: dict[str, tuple[list[ir.Node], list[ir.Node]]] = {}
    for side in (0, 1):
        for node in nodes[side]:
            members.setdefault(scopes[side][node], ([], []))[side].append(node)
    found = []
    for scope, (before, after) in members.items():
        kept = [(node, pairs[node]) for node in before if node in pairs]
        texts = Counter((named(one), text) for one, _ in kept for text in altered[one])
        retyped = Counter(t for one, other in kept if (t := type_change(one, other, types)) is not None)
        found.append(
            Change(
                scope,
                (scope,),
                counts(before, after),
                tuple(sorted(Altered(*key, nodes) for key, nodes in texts.items())),
                tuple(sorted(Retyped(*key, nodes) for key, nodes in retyped.items())),
            )
        )
    return Modules(tuple(found))

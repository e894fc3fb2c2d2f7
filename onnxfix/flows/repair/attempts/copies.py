"""A conversion adds no copy: where the plan of a half model has more than its source's, what they stand at stays fp32.

A value that the host reads in fp32 and a GPU node in half is copied twice, the value and its cast, and so is one of two
types that two host nodes read. The plan tells which values these are.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.plan import Plan
from onnxfix.nouns.site import label
from onnxfix.surgery.editor import MADE_BY

from .escalation import Kept

# Keeping one node can move a copy to the next one.
ROUNDS = 3
REASON = "else one copy more"


def added(plan: Plan, source: Plan) -> int:
    """How many copies a result has more than its source; 0 where one of them cannot be planned."""
    if source.load_error or plan.load_error:
        return 0
    return max(0, len(plan.copies) - len(source.copies))


def beside(result: Model, plan: Plan, source: Plan) -> Kept:
    """The nodes that make and read the values that the source does not copy, behind and before inserted casts."""
    known = {copy.value for copy in source.copies}
    copied = {copy.value for copy in plan.copies} - known
    values = [v for v in _values(result) if v.name in copied]
    nodes = dict.fromkeys(node for value in values for node in _neighbours(value))
    return tuple((label(node), REASON) for node in nodes)


def _values(model: Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
        yield from graph.inputs
        for node in graph:
            yield from node.outputs


def _neighbours(value: ir.Value) -> Iterator[ir.Node]:
    maker = value.producer()
    if maker is not None and _is_inserted(maker) and maker.inputs[0] is not None:
        yield from _neighbours_of(maker.inputs[0])
    yield from _neighbours_of(value)


def _neighbours_of(value: ir.Value) -> Iterator[ir.Node]:
    """Who makes a value, and who reads it or its cast."""
    maker = value.producer()
    if maker is not None and not _is_inserted(maker):
        yield maker
    for reader in value.consumers():
        if _is_inserted(reader):
            yield from (node for v in reader.outputs for node in v.consumers() if not _is_inserted(node))
        else:
            yield reader


def _is_inserted(node: ir.Node) -> bool:
    return node.op_type == "Cast" and MADE_BY in node.metadata_props

"""The dynamo exporter names sums of dimensions in the order in which torch.export met them.

The cache of a decoder comes out as long as `sequence + past` beside a mask of `past + sequence` tokens, in one file:
who goes by names, ONNX Runtime's memory planner among them, takes one size for two.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.model import Model

SUM = " + "


def order_sums(model: Model) -> None:
    """Each sum of names as the inputs of the graph have it, in the shapes of all values."""
    known = {
        _sorted(dim.value): dim.value
        for value in model.graph.inputs
        for dim in value.shape or ()
        if isinstance(dim, ir.SymbolicDim) and dim.value and SUM in dim.value
    }
    values = [*model.graph.outputs, *(v for node in model.graph.all_nodes() for v in node.outputs)] if known else []
    for value in values:
        if value.shape is not None:
            value.shape = ir.Shape([_ordered(dim, known) for dim in value.shape])


def _ordered(dim: int | ir.SymbolicDim, known: dict[tuple[str, ...], str]) -> int | ir.SymbolicDim:
    name = dim.value if isinstance(dim, ir.SymbolicDim) else None
    return ir.SymbolicDim(known[_sorted(name)]) if name and _sorted(name) in known else dim


def _sorted(name: str) -> tuple[str, ...]:
    return tuple(sorted(name.split(SUM)))

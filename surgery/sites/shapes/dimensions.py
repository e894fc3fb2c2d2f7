"""Lengths of axes: as the file states them, or as onnx's own inference finds them; unknown where neither tells."""

from __future__ import annotations

import onnx_ir as ir

from onnxfix.nouns.model import Model
from onnxfix.nouns.types import onnx_shapes
from onnxfix.nouns.types.operators import graphs

Shape = tuple[int | None, ...]
# Constants that shapes are computed from are small; others are left out of what inference reads.
_SMALL = 1024


class Dimensions:
    """Shapes of a model's values. Inference runs when the first value is asked for that the file does not tell all of,
    and once."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._inferred: dict[ir.Value, Shape] | None = None

    def of(self, value: ir.Value | None) -> Shape | None:
        """The axes, None for one that is not known or differs from run to run; None where the rank is unknown."""
        if value is None:
            return None
        tensor = value.const_value
        if tensor is not None and not value.is_graph_input():
            return tuple(tensor.shape.numpy())
        stated = _lengths(value.shape)
        if stated is not None and None not in stated:
            return stated
        if self._inferred is None:
            self._inferred = _infer(self.model)
        found = self._inferred.get(value)
        if stated is None or found is None or len(found) != len(stated):
            return stated if stated is not None else found
        return tuple(s if s is not None else f for s, f in zip(stated, found, strict=True))


def _lengths(shape: ir.Shape | None) -> Shape | None:
    # exporters write an unknown length as -1, too
    return None if shape is None else tuple(d if isinstance(d, int) and d >= 0 else None for d in shape)


def _infer(model: Model) -> dict[ir.Value, Shape]:
    copy = model.clone()
    outside = {v.name for v in copy.graph.inputs}
    for graph in graphs(copy.graph):
        for name, value in list(graph.initializers.items()):
            tensor = value.const_value
            if tensor is None or tensor.nbytes <= _SMALL or (graph is not copy.graph and name in outside):
                continue
            outside.add(name)
            value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(tensor.shape)  # type: ignore[arg-type]
            del graph.initializers[name]
            if not value.is_graph_input():
                # the inputs of a body are what its node passes; what stands outside is seen in it
                copy.graph.inputs.append(value)
    try:
        made = ir.from_proto(onnx_shapes.infer(ir.to_proto(copy.ir)))
    except Exception:  # onnx raises several types for graphs that it cannot infer
        return {}
    named = {
        v.name: shape
        for g in graphs(made.graph)
        for n in g
        for v in n.outputs
        if (shape := _lengths(v.shape)) is not None
    }
    return {v: named[v.name] for n in model.nodes() for v in n.outputs if v.name in named}

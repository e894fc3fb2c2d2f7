"""How much a copied value weighs: whether it grows with batch and sequence, and so how much its copy harms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from onnxfix.element_types import ElementTypes

from .provenance import Origins

_FLOATS = ("float", "float16", "bfloat16", "double")

# A static value up to this many elements costs its launch, not its bytes.
_SMALL = 1024


def shapes(model: ir.Model, values: Iterable[ir.Value], origins: Origins) -> Mapping[ir.Value, ir.Shape | None]:
    """Shapes of values: recorded in the optimised graph or the file, else inferred once for the whole graph."""
    found = {value: _recorded(value, origins) for value in values}
    if any(shape is None for shape in found.values()):
        inferred = _inferred(model)
        found = {v: s if s is not None else inferred.get(v.name or "") for v, s in found.items()}
    return found


def grows(value: ir.Value, shape: ir.Shape | None, types: ElementTypes) -> bool:
    """Whether a value is an activation: floats of rank 2 or more with a dynamic axis, or a sequence of them."""
    known = types.get(value) or ""
    if known.removeprefix("seq(").removeprefix("tensor(").rstrip(")") not in _FLOATS:
        return False
    return shape is not None and len(shape) >= 2 and not shape.is_static()


def severity(value: ir.Value, shape: ir.Shape | None, types: ElementTypes) -> str:
    """error for values that grow with batch and sequence, note for shapes and small static values, else warning."""
    if grows(value, shape, types):
        return "error"
    known = types.get(value) or ""
    if shape is not None and shape.is_static() and _size(shape) <= _SMALL:
        return "note"
    if known.startswith("tensor(int") and shape is not None and len(shape) <= 1:
        return "note"
    return "warning"


def _size(shape: ir.Shape) -> int:
    size = 1
    for dimension in shape.numpy():
        size *= dimension
    return size


def _recorded(value: ir.Value, origins: Origins) -> ir.Shape | None:
    original = origins.value(value.name or "")
    shape = value.shape or (original.shape if original is not None else None)
    producer = value.producer()
    # an element of a sequence is as large as what the sequence was split from
    if shape is None and producer is not None and producer.op_type == "SplitToSequence" and producer.inputs[0]:
        return _recorded(producer.inputs[0], origins)
    return shape


def _inferred(model: ir.Model) -> dict[str, ir.Shape | None]:
    import onnx

    try:
        done = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(model)))
    except Exception:  # onnx raises several types for graphs it cannot infer; shapes only grade a copy
        return {}
    return {v.name: v.shape for n in done.graph.all_nodes() for v in n.outputs if v.name}

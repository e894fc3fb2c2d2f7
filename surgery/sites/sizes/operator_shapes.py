"""Shapes of results as onnx itself has them, one node at a time: for operators that no rule of ours is for."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import onnx
import onnx_ir as ir
from onnx import defs, helper, numpy_helper, shape_inference

from onnxfix.nouns.types.operators import bodies, is_standard
from onnxfix.surgery.sites.shapes.product_operations import Shape

from .product_shapes import Numbers


def operator_shapes(
    node: ir.Node, opset: int, shapes: Sequence[Shape | None], numbers: Sequence[Numbers | None]
) -> list[Shape | None]:
    """One for each output, None where the operator's own inference does not tell it; nothing at all of an operator that
    is none of ONNX's, has bodies, or reads a shape that is not known."""
    known = all(shape is not None for shape, value in zip(shapes, node.inputs, strict=True) if value is not None)
    schema = _schema(node.op_type, opset) if is_standard(node) and known and not bodies(node) else None
    if schema is None:
        return []
    proto = ir.to_proto(node)
    proto.ClearField("input")
    proto.input.extend(f"i{at}" if value is not None else "" for at, value in enumerate(node.inputs))
    proto.ClearField("output")
    proto.output.extend(f"o{at}" for at in range(len(node.outputs)))
    types, data = {}, {}
    for at, (value, shape, number) in enumerate(zip(node.inputs, shapes, numbers, strict=True)):
        if value is not None and shape is not None:
            dtype = value.dtype if value.dtype is not None else _dtype(number)
            types[f"i{at}"] = helper.make_tensor_type_proto(int(dtype), shape)
        if value is not None and number is not None:
            data[f"i{at}"] = numpy_helper.from_array(number)
    try:
        found = shape_inference.infer_node_outputs(schema, proto, types, data)
    except Exception:  # what the operator does not take is said by who loads the model
        return []
    return [_shape(found.get(f"o{at}")) for at in range(len(node.outputs))]


@functools.cache
def _schema(op_type: str, opset: int) -> defs.OpSchema | None:
    try:
        return defs.get_schema(op_type, opset, "")
    except defs.SchemaError:
        return None


def _dtype(number: Numbers | None) -> ir.DataType:
    return ir.DataType.FLOAT if number is None else ir.DataType.from_numpy(number.dtype)


def _shape(found: onnx.TypeProto | None) -> Shape | None:
    if found is None or not found.HasField("tensor_type") or not found.tensor_type.HasField("shape"):
        return None
    dims = found.tensor_type.shape.dim
    return tuple(dim.dim_value for dim in dims) if all(dim.HasField("dim_value") for dim in dims) else None

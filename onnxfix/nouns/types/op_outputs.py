"""Output types that operator schemas leave open: those set by an attribute, by a sub-graph, or by a sequence's element.

Source: the operator specifications of ONNX (onnx/docs/Operators.md), one small function an operator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import onnx_ir as ir

from onnxfix.nouns.types.operators import integer

from .type_strings import elem_string

if TYPE_CHECKING:
    from .element_types import ElementTypes


Open = Callable[[ir.Node, "ElementTypes"], Mapping[int, str]]


def _attribute_dtype(name: str, default: ir.DataType | None) -> Open:
    """The output has the type that an integer attribute names; else the first input's, else the default."""

    def outputs(node: ir.Node, types: ElementTypes) -> Mapping[int, str]:
        if made := integer(node, name, 0):
            return {0: elem_string(ir.DataType(made))}
        if default is not None:
            return {0: elem_string(default)}
        first = types.get(node.inputs[0]) if node.inputs else None
        return {0: first} if first else {}

    return outputs


def _constant(node: ir.Node, types: ElementTypes) -> Mapping[int, str]:
    for name, attribute in node.attributes.items():
        if attribute.is_ref():
            continue
        if name == "value":
            return {0: elem_string(attribute.value.dtype)}
        for prefix, made in (("value_float", "float"), ("value_int", "int64"), ("value_string", "string")):
            if name in (prefix, prefix + "s"):
                return {0: f"tensor({made})"}
    return {}


def _constant_of_shape(node: ir.Node, types: ElementTypes) -> Mapping[int, str]:
    attribute = node.attributes.get("value")
    return {0: "tensor(float)" if attribute is None or attribute.is_ref() else elem_string(attribute.value.dtype)}


def _quantize_linear(node: ir.Node, types: ElementTypes) -> Mapping[int, str]:
    zero_point = types.get(node.inputs[2]) if len(node.inputs) > 2 else None
    if zero_point:
        return {0: zero_point}
    return _attribute_dtype("output_dtype", ir.DataType.UINT8)(node, types)


def _dequantize_linear(node: ir.Node, types: ElementTypes) -> Mapping[int, str]:
    if made := integer(node, "output_dtype", 0):
        return {0: elem_string(ir.DataType(made))}
    scale = types.get(node.inputs[1]) if len(node.inputs) > 1 else None
    return {0: scale} if scale else {}


def _if(node: ir.Node, types: ElementTypes) -> Mapping[int, str]:
    branch = node.attributes.get("then_branch")
    return _body_outputs(branch.as_graph().outputs, types) if branch is not None else {}


def _loop(node: ir.Node, types: ElementTypes) -> Mapping[int, str]:
    body = node.attributes.get("body")
    return _body_outputs(body.as_graph().outputs[1:], types) if body is not None else {}


def _scan(node: ir.Node, types: ElementTypes) -> Mapping[int, str]:
    body = node.attributes.get("body")
    return _body_outputs(body.as_graph().outputs, types) if body is not None else {}


def _body_outputs(values: Sequence[ir.Value], types: ElementTypes) -> Mapping[int, str]:
    return {i: known for i, v in enumerate(values) if (known := types.get(v))}


def _sequence_element(node: ir.Node, types: ElementTypes) -> Mapping[int, str]:
    sequence = types.get(node.inputs[0])
    return {0: sequence[len("seq(") : -1]} if sequence and sequence.startswith("seq(") else {}


def _sequence_of_first(node: ir.Node, types: ElementTypes) -> Mapping[int, str]:
    element = types.get(node.inputs[0]) if node.inputs else None
    return {0: f"seq({element})"} if element else {}


def _sequence_empty(node: ir.Node, types: ElementTypes) -> Mapping[int, str]:
    return {0: f"seq({_attribute_dtype('dtype', ir.DataType.FLOAT)(node, types)[0]})"}


OPEN_OUTPUTS: dict[str, Open] = {
    "Bernoulli": _attribute_dtype("dtype", None),
    "BlackmanWindow": _attribute_dtype("output_datatype", ir.DataType.FLOAT),
    "Cast": _attribute_dtype("to", None),
    "ConcatFromSequence": _sequence_element,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DequantizeLinear": _dequantize_linear,
    "EyeLike": _attribute_dtype("dtype", None),
    "HammingWindow": _attribute_dtype("output_datatype", ir.DataType.FLOAT),
    "HannWindow": _attribute_dtype("output_datatype", ir.DataType.FLOAT),
    "If": _if,
    "Loop": _loop,
    "MelWeightMatrix": _attribute_dtype("output_datatype", ir.DataType.FLOAT),
    "Multinomial": _attribute_dtype("dtype", ir.DataType.INT32),
    "QuantizeLinear": _quantize_linear,
    "RandomNormal": _attribute_dtype("dtype", ir.DataType.FLOAT),
    "RandomNormalLike": _attribute_dtype("dtype", None),
    "RandomUniform": _attribute_dtype("dtype", ir.DataType.FLOAT),
    "RandomUniformLike": _attribute_dtype("dtype", None),
    "Scan": _scan,
    "SequenceAt": _sequence_element,
    "SequenceConstruct": _sequence_of_first,
    "SequenceEmpty": _sequence_empty,
    "SplitToSequence": _sequence_of_first,
}

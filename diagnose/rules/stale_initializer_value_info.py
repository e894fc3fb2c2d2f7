"""S001: value_info of an initializer that is wrong, or that quantization will make wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.nouns.types.operators import integer
from onnxfix.nouns.types.type_strings import elem_string


class StaleInitializerValueInfo:
    """A `value_info` entry states the type or shape of an initializer, which states both itself.

    A wrong entry is a warning: shape inference and several runtimes believe it. A right entry of a `Gemm(transB=1)`
    weight is a note: ONNX Runtime's quantizer transposes the weight, leaves the entry, and then fails with two shapes
    for one name ("(1024) vs (7)").

    Repair: `onnxfix repair` drops the entries.
    """

    code: ClassVar[str] = "S001"
    name: ClassVar[str] = "stale-initializer-value-info"

    def check(self, subject: Subject) -> Iterator[Finding]:
        for graph in subject.model.graphs():
            for value in graph.initializers.values():
                if value.is_graph_input() or value.is_graph_output():  # they must state their type
                    continue
                if value.const_value is None or value.type is None:
                    continue
                wrong = _contradiction(value, value.const_value)
                if wrong:
                    yield self._finding(value, Severity.WARNING, wrong)
                elif any(_is_transposed_weight(n, value) for n in value.consumers()):
                    text = f"value_info of the Gemm(transB=1) weight {value.name} breaks ONNX Runtime's quantizer"
                    yield self._finding(value, Severity.NOTE, text)

    def _finding(self, value: ir.Value, severity: Severity, message: str) -> Finding:
        return Finding(
            code=self.code,
            name=self.name,
            severity=severity,
            site=Site(value=value.name or ""),
            message=message,
            evidence={"declared": f"{value.type} {value.shape}"},
            repair="onnxfix repair --precision fp32",
            applicability=Applicability.EXACT,
        )


def _contradiction(value: ir.Value, tensor: ir.TensorProtocol) -> str:
    declared = value.type.dtype if value.type is not None else tensor.dtype
    if declared != tensor.dtype:
        return f"value_info declares {value.name} {elem_string(declared)}, it is {elem_string(tensor.dtype)}"
    shape = value.shape
    actual = list(tensor.shape.numpy())
    if shape is not None and (
        len(shape) != len(actual) or any(isinstance(d, int) and d != a for d, a in zip(shape, actual, strict=True))
    ):
        return f"value_info declares {value.name} of shape {shape}, it is {actual}"
    return ""


def _is_transposed_weight(node: ir.Node, value: ir.Value) -> bool:
    return node.op_type == "Gemm" and node.inputs[1] is value and integer(node, "transB", 0) == 1

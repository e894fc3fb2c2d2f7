"""Q001: a linear layer whose weight a quantizer cannot see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites.linear import linears, shared_weights


class WeightNotReached:
    """A weight stands behind Transpose, Cast, Reshape or Identity, or in a Constant node or Einsum: quantizers skip it.

    ONNX Runtime's quantizers take a MatMul or Gemm only when its weight is an initializer, and skip all others without
    a word. In a dynamo export without optimizer every weight stands behind a `Transpose`: 2 of 26 linears were
    quantized on a small ModernBERT. A table that an embedding reads as it is, and the output layer through a
    `Transpose`, is a note: stored as the product reads it, it would be stored twice.

    Repair: `onnxfix repair --int8 dynamic` folds the constants first, and writes an Einsum as MatMul.
    """

    code: ClassVar[str] = "Q001"
    name: ClassVar[str] = "weight-not-reached"

    def check(self, subject: Subject) -> Iterator[Finding]:
        found = linears.find(subject.model, subject.types)
        nodes = {linear.node for linear in found}
        for linear in found:
            source = linear.weight.source
            in_constant_node = source.producer() is not None
            is_einsum = linear.node.op_type == "Einsum"
            if linear.quantized or not (linear.hidden_by or in_constant_node or is_einsum):
                continue
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.NOTE if shared_weights.others(source, nodes) else Severity.WARNING,
                site=Site.of_node(linear.node),
                message=f"a quantizer would skip this {linear.node.op_type}: {linear.reason}",
                evidence={
                    "weight": linear.weight.source.name,
                    "elements": linear.weight.elements,
                    "path": [n.op_type for n in linear.hidden_by],
                },
                repair="onnxfix repair --int8 dynamic",
                applicability=Applicability.NUMERIC,
            )

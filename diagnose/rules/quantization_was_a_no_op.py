"""Q002: a quantizer ran and left most of the model in float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site, label
from onnxfix.surgery.sites.linear import linears

# Below half of the weights the file keeps most of its size and the run most of its time: it is not a quantized model.
ENOUGH = 0.5


class QuantizationWasANoOp:
    """Somebody quantized this model, and less than half of its linear weights are quantized.

    Quantizers skip what they cannot handle and report success: the file is as large as before and as slow
    (microsoft/onnxruntime#21440). Causes by frequency: `op_types_to_quantize=['MatMul']` on a graph whose linears are
    `Gemm`, weights behind `Transpose`, fp16 weights.

    Repair: quantize the float original with `onnxfix repair --int8 dynamic`.
    """

    code: ClassVar[str] = "Q002"
    name: ClassVar[str] = "quantization-was-a-no-op"

    def check(self, subject: Subject) -> Iterator[Finding]:
        if not linears.is_quantized(subject.model):
            return
        found = linears.find(subject.model, subject.types)
        total = sum(x.elements for x in found)
        done = sum(x.elements for x in found if x.quantized)
        if total == 0 or done / total >= ENOUGH:
            return
        skipped = [x for x in found if not x.quantized]
        reasons = Counter(_kind(x) for x in skipped)
        yield Finding(
            code=self.code,
            name=self.name,
            severity=Severity.ERROR,
            site=Site.of_node(skipped[0].node),
            message=f"{len(found) - len(skipped)} of {len(found)} linears are quantized, "
            f"{100 * done / total:.0f} % of their weights; skipped: "
            + ", ".join(f"{n} {reason}" for reason, n in reasons.most_common()),
            evidence={
                "linears": len(found),
                "quantized": len(found) - len(skipped),
                "weight_share": round(done / total, 4),
                "skipped": [label(x.node) for x in skipped],
                "reasons": [x.reason for x in skipped],
            },
            repair="onnxfix repair --int8 dynamic on the float original",
        )


def _kind(linear: linears.Linear) -> str:
    if linear.hidden_by:
        return f"{linear.node.op_type} behind {linear.hidden_by[-1].op_type}"
    return f"{linear.node.op_type} ({linear.reason})"

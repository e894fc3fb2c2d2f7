"""F006: a normalisation that ONNX Runtime leaves in parts, by how it is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites.half import norms

_SAID = {"Mul": "a square written as x · x", "Reciprocal": "Reciprocal of its root", "Pow": "a root written as Pow"}


class NormNotFused:
    """A LayerNorm or RMSNorm in fp32 stays five to nine operators, as ONNX Runtime's fusion does not know a part of it.

    `x / Sqrt(ReduceMean(Pow(x, 2)) + epsilon) · weight` becomes one kernel when a session is made; the same with
    `x · x`, with `Reciprocal(Sqrt(…))` or with `Pow(…, -0.5)` does not, and each part reads and writes all activations.
    torch's dynamo exporter writes Reciprocal for every rsqrt, so that no RMSNorm of a Llama, Qwen, Gemma or T5 is
    fused; its older exporter writes a quotient, which is. A Qwen3 with int8 linears takes 12 % more time for it on a
    CPU.

    Repair: `onnxfix optimize`, and every conversion to half precision or integers, writes such norms as they are known.
    """

    code: ClassVar[str] = "F006"
    name: ClassVar[str] = "norm-not-fused"

    def check(self, subject: Subject) -> Iterator[Finding]:
        provider = subject.target.provider
        if subject.plan.load_error or not (provider.is_host or provider.flash):
            return  # others do not take what ONNX Runtime fuses
        for site in norms.find(subject.model):
            unknown = norms.unfusable(site, subject.types)
            if unknown:
                why = " and ".join(dict.fromkeys(_SAID[node.op_type] for node in unknown))
                yield Finding(
                    code=self.code,
                    name=self.name,
                    severity=Severity.NOTE,
                    site=Site.of_node(unknown[0]),
                    message=f"the norm stays {len(site.nodes) + 1} operators: ONNX Runtime fuses none with {why}",
                    evidence={"nodes": len(site.nodes) + 1, "unknown": [node.op_type for node in unknown]},
                    repair="onnxfix optimize",
                    applicability=Applicability.NUMERIC,
                )

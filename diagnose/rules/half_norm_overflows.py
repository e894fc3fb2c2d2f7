"""P004: the squares of a written-out norm in half precision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites.half import norms


class HalfNormOverflows:
    """A norm written out as single operators whose squares, or their sum, are in half precision.

    A square passes 65,504, the largest fp16 number, at an activation of 256, and residual streams have channels of
    several hundred: the mean of squares is then infinite and the row zero, without a word. The emulation that `repair`
    verifies in shows it; ONNX Runtime's CPU provider does not, since it computes in fp32. In bf16 nothing overflows,
    but a square keeps 8 bits. Norms that are one operator (`LayerNormalization`) sum in fp32 and are no finding. See
    microsoft/onnxruntime#31626.

    Repair: `onnxfix repair --precision fp16` makes the file fp32 first, which is exact, and converts it again with the
    norms in fp32; the result is compared with the file's own weights in fp32.
    """

    code: ClassVar[str] = "P004"
    name: ClassVar[str] = "half-norm-overflows"

    def check(self, subject: Subject) -> Iterator[Finding]:
        for site in norms.find(subject.model):
            halves = site.halves(subject.types)
            if not halves:
                continue
            kind = (subject.types.get(halves[0]) or "tensor(float16)")[7:-1]
            harm = "pass 65,504 at an activation of 256" if kind == "float16" else "keep 8 bits of their digits"
            maker = halves[0].producer()
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.WARNING if kind == "float16" else Severity.NOTE,
                site=Site.of_node(maker) if maker is not None else Site.of_value(halves[0]),
                message=f"the squares of this norm are summed in {kind}: they {harm}",
                evidence={"half_values": [value.name or "" for value in halves]},
                repair=f"onnxfix repair --precision {'bf16' if kind == 'bfloat16' else 'fp16'}",
                applicability=Applicability.NUMERIC,
            )

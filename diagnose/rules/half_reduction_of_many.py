"""P005: a sum or mean of many values in half precision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Applicability, Finding, Scalar, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites.half import large_sums
from onnxfix.surgery.sites.half.half_types import LARGEST_FP16
from onnxfix.surgery.sites.half.large_sums import LargeSum

# Nothing tells how these kernels sum; of the others their source does.
_UNTOLD = frozenset({"AveragePool", "GlobalAveragePool", "LpPool", "GlobalLpPool", "LpNormalization"})


class HalfReductionOfMany:
    """A sum or mean of more than 64 values, or of a number that nothing tells, whose kernel holds the sum in half.

    fp16 ends at 65,504. CUDA's ReduceMean writes the sum of n values in half and divides it by half(n): a plane of
    512 × 512 is infinite from a mean of 0.25 on, and divided by infinity (microsoft/onnxconverter-common#323). Sums
    overflow where their result does; CumSum and Scatter add one by one in half. bf16 does not overflow, but adds what
    blocks have summed with 8 bits. The CPU computes in fp32 in between and shows nothing of it. A note where only cuDNN
    knows (pools). Softmax, LayerNormalization and MatMul sum in fp32.

    Repair: `onnxfix repair` makes the model fp32 and converts it anew with these nodes in fp32.
    """

    code: ClassVar[str] = "P005"
    name: ClassVar[str] = "half-reduction-of-many"

    def check(self, subject: Subject) -> Iterator[Finding]:
        for site in large_sums.in_half(subject.model, subject.types):
            kind = subject.types.get(site.node.inputs[0]) or ""
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.NOTE if site.node.op_type in _UNTOLD else Severity.WARNING,
                site=Site.of_node(site.node),
                message=f"{site.node.op_type} of {_many(site)} in {kind[7:-1]}{_end(site, kind)}",
                evidence=_evidence(site),
                repair=f"onnxfix repair --precision {'bf16' if 'bfloat' in kind else 'fp16'}",
                applicability=Applicability.NUMERIC,
            )


def _many(site: LargeSum) -> str:
    return f"{site.count:,} values" if site.count is not None else "any number of values"


def _end(site: LargeSum, kind: str) -> str:
    if "bfloat" in kind:
        return ": the sum is rounded to 8 bits"
    if site.count is None:
        return ": the sum ends at 65,504"
    return f": the sum ends at 65,504, which a mean of {LARGEST_FP16 / site.count:,.3g} passes"


def _evidence(site: LargeSum) -> dict[str, Scalar | list[str]]:
    return {"values": site.count, "limit": large_sums.MOST}

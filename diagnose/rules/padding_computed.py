"""F004: linears that compute tokens of padding like real ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.diagnose import attention
from onnxfix.diagnose.remedy import optimize
from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites.tokens.packed.packs import packs


class PaddingComputed:
    """Linears, norms and all else that is of one token run on padding too, although a mask tells what that is.

    A batch of 8 texts of up to 512 tokens is often 40 % full. The mask keeps attention from padding, and nothing else:
    the other 60 % are computed as if they counted, and cost what they would. In graphs that take the real tokens alone
    a batch costs what its tokens cost: three times less in fp32 on such batches, on one core. What is of one token, and
    that nobody reads what stands at padding, is told from the graph; where a mean over all tokens or a convolution
    reads it, there is no finding.

    Repair: `onnxfix optimize`. Sorting texts by length before they are made into batches helps as well, in any runtime.
    """

    code: ClassVar[str] = "F004"
    name: ClassVar[str] = "padding-computed"

    def check(self, subject: Subject) -> Iterator[Finding]:
        if subject.plan.load_error or packs(subject.model):
            return
        mask, products = subject.once(attention.hidden), subject.once(attention.products)
        if mask is not None and products:
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.NOTE,
                site=Site.of_value(mask.value),
                message=f"linears and all around them compute tokens that {mask.value.name} says are padding",
                evidence={"products": len(products), "mask": str(mask.value.name)},
                repair=optimize(subject),
                applicability=Applicability.NUMERIC,
            )

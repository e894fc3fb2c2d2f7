"""F003: rotary positions that are written out, where one operator turns queries and keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.diagnose.remedy import optimize
from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites.attention import rotary_products


class RotaryWrittenOut:
    """x · cos + rotate_half(x) · sin over all queries and keys is seven operators, each of which reads and writes all.

    Two Slices, a Neg, a Concat, two Muls and an Add are 11 % of the time of a ModernBERT-base with int8 linears on a
    CPU; `RotaryEmbedding` reads once and writes once. ONNX Runtime puts none of them together in the exports of eleven
    architectures (1.31.1). A rotation is told by its numbers, however it is written, and in fp32 only.

    Repair: `onnxfix optimize`, with the cosines and sines in fp32.
    """

    code: ClassVar[str] = "F003"
    name: ClassVar[str] = "rotary-written-out"

    def check(self, subject: Subject) -> Iterator[Finding]:
        provider = subject.target.provider
        if subject.plan.load_error or not ("fuse" in provider.faster or provider.flash):
            return
        for site in rotary_products.in_fp32(rotary_products.sites(subject.model), subject.types):
            turned = site.rotation
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.NOTE,
                site=Site.of_value(site.output),
                message="a rotation of queries or keys is written out: each of its parts reads and writes all of them",
                evidence={"features": turned.width, "interleaved": turned.interleaved},
                repair=optimize(subject),
                applicability=Applicability.NUMERIC,
            )

"""F002: attention that is written out, where one operator computes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.diagnose import attention
from onnxfix.diagnose.remedy import optimize
from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites.attention.attention_cores import AttentionCore
from onnxfix.surgery.sites.attention.caches import appended


class AttentionWrittenOut:
    """Two products, a Softmax and what stands between and around them compute an attention, and no kernel is told so.

    All scores, [batch, heads, queries, keys], are written to memory and read again at each of these operators, and
    heads are turned by up to four Transposes; an operator of attention keeps scores where they are made. Exporters
    write attention out, and ONNX Runtime's own fusions made one operator of none in 75 exports of 25 architectures
    (1.31.1). What is computed is read, and no order of operators; one that is not read as attention is no finding, and
    neither is one over a cache, which has a pass of its own.

    Repair: `onnxfix optimize`, which verifies the result, and leaves padding out as well.
    """

    code: ClassVar[str] = "F002"
    name: ClassVar[str] = "attention-written-out"

    def check(self, subject: Subject) -> Iterator[Finding]:
        provider = subject.target.provider
        if subject.plan.load_error or not ("fuse" in provider.faster or provider.flash):
            return
        for site in subject.once(attention.cores):
            if appended(site.key.value) is None:
                yield self._finding(site, optimize(subject))

    def _finding(self, site: AttentionCore, repair: str) -> Finding:
        return Finding(
            code=self.code,
            name=self.name,
            severity=Severity.NOTE,
            site=Site.of_node(site.softmax),
            message="attention is written out: its scores are written and read once for each operator on them",
            evidence={"heads": site.heads, "size": site.query.size, "added": len(site.terms)},
            repair=repair,
            applicability=Applicability.NUMERIC,
        )

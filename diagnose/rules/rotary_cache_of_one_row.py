"""K010: a rotation by caches of one row, in a batch of several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.nouns.types.counts import plural
from onnxfix.surgery.sites.attention.operators.rotary_caches import of_one_row


class RotaryCacheOfOneRow:
    """A RotaryEmbedding has cosines and sines of one row, and ONNX Runtime runs it on a batch of one alone.

    ai.onnx defines the operator with caches [batch, sequence, size/2] where it gets no position ids (operator set 23).
    torch's exporter writes it with [1, sequence, size/2], as everything else in a graph would be broadcast: the file
    loads, answers for one text, and fails at two ("Inputs 'cos_cache' and 'sin_cache' are expected to have the same
    shape as input 'x'", ONNX Runtime 1.31.1). `onnxfix repair` repeats each cache once for all rotations that read it;
    `spread-rotary-caches` is the pass. An export of operator set 20 or below has rotations written out.
    """

    code: ClassVar[str] = "K010"
    name: ClassVar[str] = "rotary-cache-of-one-row"

    def check(self, subject: Subject) -> Iterator[Finding]:
        found = of_one_row(subject.model)
        if found:
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.ERROR,
                site=Site.of_node(found[0]),
                message=f"{plural(len(found), 'rotation')} by caches of one row, which ONNX Runtime refuses for every "
                "batch of more than one",
                evidence={"rotations": len(found)},
                repair="onnxfix repair --precision fp32",
                applicability=Applicability.EXACT,
            )

"""P003: attention that computes in fp32 because rotary angles do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site, label
from onnxfix.surgery.sites.half import leaks


class Fp32IslandLeak:
    """A product or Softmax in fp32 behind rotary angles, in a model that computes in half elsewhere.

    Angles belong in fp32, cosine and sine do not: where they are not cast to half at the edge, queries and keys become
    fp32 with them, then the scores and their Softmax, the most expensive part of a long sequence. One public project
    measured attention 4.3 times slower when it happened.

    Repair: `onnxfix repair` converts the model anew, with the cast at cosine and sine.
    """

    code: ClassVar[str] = "P003"
    name: ClassVar[str] = "fp32-island-leak"

    def check(self, subject: Subject) -> Iterator[Finding]:
        for leak in leaks.find(subject.model, subject.types):
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.WARNING,
                site=Site.of_node(leak.node),
                message=f"{leak.node.op_type} computes in fp32: the {leak.source.op_type} "
                f"{leak.source.outputs[0].name} reached it without a cast to half",
                evidence={"source": label(leak.source)},
                repair="onnxfix repair --precision fp16",
                applicability=Applicability.NUMERIC,
            )

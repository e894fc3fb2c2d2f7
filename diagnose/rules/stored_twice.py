"""W003: a weight that is stored twice, which doubles what it takes in the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites import equal_weights


class StoredTwice:
    """Two initializers hold the same matrix, the second perhaps transposed.

    The table of a tied output layer is one tensor in torch. An exporter that folds constants stores it a second time,
    transposed (huggingface/transformers#12985, huggingface/optimum#1326), and a converter that folds a `Transpose` in
    front of the product does the same; causal masks are stored once a layer. The file is larger by each copy, and a
    quantizer makes two different tables of one.

    Repair: `onnxfix repair` keeps one, read through a `Transpose` where it was stored transposed.
    """

    code: ClassVar[str] = "W003"
    name: ClassVar[str] = "stored-twice"

    def check(self, subject: Subject) -> Iterator[Finding]:
        for twin in equal_weights.find(subject.model):
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.WARNING,
                site=Site(value=twin.again.name or ""),
                message=f"it is {twin.first.name} again{', transposed' if twin.turned else ''}: "
                f"{twin.nbytes:,} bytes are stored twice",
                evidence={"first": twin.first.name, "transposed": twin.turned, "bytes": twin.nbytes},
                repair="onnxfix repair --precision fp32",
                applicability=Applicability.EXACT,
            )

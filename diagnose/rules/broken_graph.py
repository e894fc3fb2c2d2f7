"""K007: a file that can be parsed and is no model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.rule import Subject


class BrokenGraph:
    """The file can be parsed, and what is in it is no model: nothing but this can be said of it.

    A node has fewer inputs than its operator needs, or an attribute of another type; a value is made twice, or read
    and made by nothing; a graph waits for its own result; a weight's bytes do not fill its shape, or its entry of a
    data file holds no number; functions call themselves, or unfold to more than 200,000 nodes. ONNX Runtime refuses
    such files. Other rules have nothing to ask then, and `repair`, `extract` and `bench` end with the first fault.

    Export the model again, or repair it with the tool that wrote the node that is named.
    """

    code: ClassVar[str] = "K007"
    name: ClassVar[str] = "broken-graph"

    def check(self, subject: Subject) -> Iterator[Finding]:
        for fault in subject.model.faults:
            yield Finding(
                code=self.code, name=self.name, severity=Severity.ERROR, site=fault.site, message=fault.message
            )

"""S002: a declared shape that the graph contradicts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites.sizes import declared_sizes
from onnxfix.surgery.sites.sizes.declared_sizes import Contradiction, Declared


class ContradictedShape:
    """The file declares an output, or a value inside, with a name or a size of an axis that the graph does not make.

    Two axes of one name have one size, says ONNX, and ONNX Runtime lets values of equal declared shapes share memory:
    where a name is wrong, a run ends in "Shape mismatch attempting to re-use buffer" at a node that is right, or not,
    by which values happen to share (microsoft/onnxruntime#14582). A wrong size of an output is a warning of every run,
    and whoever reads the file to allocate memory believes it. Found by following the sizes of the inputs through the
    graph at two sets of sizes.

    Repair: `onnxfix repair` declares what the graph makes, and leaves open what no name of an input tells.
    """

    code: ClassVar[str] = "S002"
    name: ClassVar[str] = "contradicted-shape"

    def check(self, subject: Subject) -> Iterator[Finding]:
        outputs = {id(value) for value in subject.model.graph.outputs}
        for found in declared_sizes.find(subject.model.graph):
            where = "output" if id(found.value) in outputs else "value"
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.WARNING,
                site=Site.of_value(found.value),
                message=f"{where} {found.value.name} {_said(found)}",
                evidence={"declared": list(map(str, found.declared)), "axes": [str(axis) for axis in found.axes]},
                repair="onnxfix repair --precision fp32",
                applicability=Applicability.EXACT,
            )


def _said(found: Contradiction) -> str:
    if not found.axes:
        return f"is declared of rank {len(found.declared)} and has rank {len(found.made[0])}"
    wrong = [f"axis {i} is declared {found.declared[i]} and is {_made(found, i)}" for i in found.axes]
    return ", ".join(wrong)


def _made(found: Contradiction, axis: int) -> str:
    right: Declared = found.found[axis]
    if isinstance(right, int):
        return f"{right} whatever the inputs"
    return right if right is not None else "another size"

"""K008: versions that the installed ONNX Runtime does not know yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.runtime.newest import too_new
from onnxfix.nouns.site import Site


class NewerThanRuntime:
    """The model states an IR version or an operator set that the installed ONNX Runtime refuses.

    Libraries write the newest version that they know: `onnx.helper.make_model` of onnx 1.23 states IR version 14, and
    ONNX Runtime 1.31 ends at 13. Mostly nothing in the model needs it. `onnxfix repair` writes older versions where the
    same operators have the same definition there, or onnx's version converter writes them anew and onnx's reference
    evaluator gives the same answers; `lower-versions` is the pass. Of a version that the installed onnx does not know
    either, nobody can tell. Or install a newer ONNX Runtime.
    """

    code: ClassVar[str] = "K008"
    name: ClassVar[str] = "newer-than-runtime"

    def check(self, subject: Subject) -> Iterator[Finding]:
        for found in too_new(subject.model.ir):
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.ERROR,
                site=Site(),
                message=f"{found} is newer than ONNX Runtime {subject.target.table.requested}, which knows "
                f"{found.known}",
                evidence={"stated": found.stated, "known": found.known, "domain": found.domain or ""},
                repair="onnxfix repair --precision fp32" if found.is_defined else "",
                applicability=Applicability.NUMERIC if found.is_defined else Applicability.MANUAL,
            )

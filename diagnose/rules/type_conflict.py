"""P001: a node whose types cannot be right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site


class TypeConflict:
    """Types that contradict each other, every one of them and not only the first.

    Half-precision converters leave a `Cast` or a `value_info` entry behind, and the runtime stops at the first node it
    cannot type: "Type parameter (T) of Optype (Mul) bound to different types". `onnx.checker` passes such files. Three
    kinds: `unify` (one type parameter bound to two types), `refused` (the operator does not take the type), `declared`
    (value_info contradicts what the node produces).

    Repair: `onnxfix repair` makes such a file fp32, where nothing contradicts, and converts it anew by inferred types.
    """

    code: ClassVar[str] = "P001"
    name: ClassVar[str] = "type-conflict"

    def check(self, subject: Subject) -> Iterator[Finding]:
        for conflict in subject.types.conflicts:
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.ERROR,
                site=Site(conflict.site.scope, conflict.site.op_type, conflict.site.node, conflict.values[-1]),
                message=conflict.message,
                evidence={"kind": conflict.kind, "types": list(conflict.types), "values": list(conflict.values)},
                repair="onnxfix repair --precision fp16",
                applicability=Applicability.NUMERIC,
            )

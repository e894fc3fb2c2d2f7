"""K004: ONNX Runtime refuses the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site


class DoesNotLoad:
    """The installed ONNX Runtime cannot load the model: the message is the runtime's own.

    Common causes: an IR version or opset newer than the runtime, an operator of a domain that no library registers
    (`--custom-op-library`), and type conflicts, which P001 lists one by one.
    """

    code: ClassVar[str] = "K004"
    name: ClassVar[str] = "does-not-load"

    def check(self, subject: Subject) -> Iterator[Finding]:
        if not subject.plan.load_error:
            return
        unknown = next(iter(subject.types.unknown_ops), None)
        yield Finding(
            code=self.code,
            name=self.name,
            severity=Severity.ERROR,
            site=Site.of_node(unknown) if unknown is not None else Site(),
            message=f"ONNX Runtime {subject.target.table.requested} cannot load it: {subject.plan.load_error}",
            evidence={
                "ir_version": subject.model.ir.ir_version,
                "opset": subject.model.opset,
                "unknown_operators": sorted({f"{n.domain}::{n.op_type}" for n in subject.types.unknown_ops}),
            },
        )

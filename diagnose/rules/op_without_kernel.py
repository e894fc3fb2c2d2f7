"""K002: an operator runs on the host because the target has no kernel for it or for its types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites.linear.linears import QUANT_OPS

from .sequence_op_copies import SEQUENCE_OPS


class OpWithoutKernel:
    """The execution provider has no kernel for an operator, or none for its types, so it falls back to the host.

    The runtime says nothing about it by default. The cost is not the operator itself but the copies around it: an
    error when they grow with batch and sequence, a warning when they do not, a note when there are none. Nodes that
    ONNX Runtime moves to the host on purpose (shape arithmetic) are not findings.
    """

    code: ClassVar[str] = "K002"
    name: ClassVar[str] = "op-without-kernel"

    def check(self, subject: Subject) -> Iterator[Finding]:
        if subject.plan.load_error:
            return  # the runtime never came to placing nodes: K004 and P001 say why
        for placed in subject.plan.nodes:
            if not placed.lacks_kernel or placed.op_type in QUANT_OPS:
                continue
            copies = [c for c in subject.plan.copies if c.cause_key == placed.key]
            if copies and placed.op_type in SEQUENCE_OPS:
                continue  # said by K001
            severity = Severity.NOTE
            if copies:
                severity = Severity.ERROR if any(c.severity == "error" for c in copies) else Severity.WARNING
            origin = subject.labelled.find(*placed.key, placed.op_type)
            site = Site(placed.scope, placed.op_type, placed.name, placed.output)
            yield Finding(
                code=self.code,
                name=self.name,
                severity=severity,
                site=Site.of_node(origin) if origin is not None else site,
                message=placed.reason,
                evidence={"provider": placed.provider, "copies": [c.value for c in copies]},
            )

"""K003: a value crosses between device and host although every operator has a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites.shapes import host_values


class HostCopy:
    """A Memcpy that no missing kernel explains: shape arithmetic, or an argument that a kernel reads on the host.

    ONNX Runtime runs shape arithmetic on the host and many kernels read shapes, axes and sizes there. Where such a
    value is made on the device it is copied. A few bytes do not matter (a note), a value that grows with the batch does
    (an error): graph inputs multiplied into a shape chain are dragged to the host whole. Any Memcpy node prevents CUDA
    graphs.

    Repair: `onnxfix repair` makes numbers of shape arithmetic on the device where they are read there. An argument
    that a kernel reads on the host and that is computed from data on the device cannot be repaired.
    """

    code: ClassVar[str] = "K003"
    name: ClassVar[str] = "host-copy"

    def check(self, subject: Subject) -> Iterator[Finding]:
        if subject.plan.load_error:
            return  # the runtime never came to placing nodes: K004 and P001 say why
        repairable = host_values.repairable(subject.model, subject.plan, subject.target.table, subject.types)
        lacking = {n.key for n in subject.plan.nodes if n.lacks_kernel}
        for copy in subject.plan.copies:
            if copy.cause_key in lacking:
                continue
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity(copy.severity),
                site=Site(copy.scope, copy.cause_op_type, copy.cause_node, copy.value, copy.call),
                message=f"{copy.value} is copied {copy.direction.replace('_', ' ')}: {copy.cause}",
                evidence={
                    "direction": copy.direction,
                    "producer": copy.producer,
                    "consumers": list(copy.consumers),
                    "grows": copy.grows,
                    "bytes": copy.nbytes,
                    "ms": copy.milliseconds,
                },
                repair="onnxfix repair --precision fp32" if copy.value in repairable else "",
                applicability=Applicability.EXACT if copy.value in repairable else Applicability.MANUAL,
            )

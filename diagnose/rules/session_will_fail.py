"""K005: a node that no provider can run, so that creating the session fails on the target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site


class SessionWillFail:
    """A node has no kernel on the target and none on the host either: ONNX Runtime refuses to create the session.

    fp16 nodes without a kernel are cast to fp32 and run on the host. bfloat16 and float8 nodes are not: one
    `ReduceMax` in bf16 is enough for "Could not find an implementation".

    Repair: `onnxfix repair --precision fp32` widens a file that arrives in bf16 exactly. For CUDA `--precision bf16`
    keeps the nodes without a kernel in fp32 and leaves all others as they are.
    """

    code: ClassVar[str] = "K005"
    name: ClassVar[str] = "session-will-fail"

    def check(self, subject: Subject) -> Iterator[Finding]:
        if subject.plan.load_error or not subject.plan.failures:
            return  # said by K004, with the runtime's words, or loaded by a real session
        for placed in subject.plan.nodes:
            if placed.provider:
                continue
            origin = subject.labelled.find(*placed.key, placed.op_type)
            site = Site(placed.scope, placed.op_type, placed.name, placed.output)
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.ERROR,
                site=Site.of_node(origin) if origin is not None else site,
                message=placed.reason or f"no provider has a kernel for {placed.op_type}",
                evidence={"op_type": placed.op_type},
                repair=_repair(subject, origin),
            )


def _repair(subject: Subject, node: ir.Node | None) -> str:
    kinds = {subject.types.get(v) for v in (*node.inputs, *node.outputs)} if node is not None else set()
    if not kinds & {"tensor(bfloat16)", "tensor(float16)"}:
        return "onnxfix repair on the fp32 model keeps such nodes in fp32"
    return f"onnxfix repair --precision fp32 --target {subject.target.provider.name}"

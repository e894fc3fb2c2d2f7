"""K001: a tensor sequence sends activations to the host and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.plan import Copy
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites.shapes import split_sequences

SEQUENCE_OPS = frozenset({"SplitToSequence", "SequenceConstruct", "ConcatFromSequence", "SequenceInsert"})

UNKNOWN = "no rewrite is known"


class SequenceOpCopies:
    """A sequence operator without a CUDA kernel copies its tensor to the host and its pieces back.

    `SplitToSequence` has no CUDA kernel in any ONNX Runtime version. torch's dynamo exporter writes `chunk`, `split`
    and `unbind` as `SplitToSequence` + `SequenceAt` when its optimizer does not run (`optimize=False`), so a gated MLP
    sends its activation across the bus twice a layer: the "56 Memcpy nodes" of a 28-layer ModernBERT
    (microsoft/onnxruntime#24198). At batch 64 × 512 tokens that is 38.5 GB a batch.

    Repair: `onnxfix repair` rewrites the pair to `Split`, bit for bit the same result.
    """

    code: ClassVar[str] = "K001"
    name: ClassVar[str] = "sequence-op-copies"

    def check(self, subject: Subject) -> Iterator[Finding]:
        refusals = {s.node: s.refusal for s in split_sequences.find(subject.model)}
        by_cause: dict[tuple[str, str], list[Copy]] = {}
        for copy in subject.plan.copies:
            if copy.cause_op_type in SEQUENCE_OPS:
                by_cause.setdefault(copy.cause_key, []).append(copy)
        # TensorRT leaves them to CUDA, which has no kernel
        lacking = next((p.label for p in reversed(subject.target.provider.chain) if p.device), "")
        for (called, output), copies in by_cause.items():
            worst = max((Severity(c.severity) for c in copies), key=lambda s: s.rank)
            op_type = copies[0].cause_op_type
            node = subject.labelled.find(called, output, op_type)
            refusal = refusals.get(node, UNKNOWN) if node is not None else UNKNOWN
            site = Site(op_type=op_type, node=called, scope=copies[0].scope)
            yield Finding(
                code=self.code,
                name=self.name,
                severity=worst,
                site=Site.of_node(node) if node is not None and node.op_type in SEQUENCE_OPS else site,
                message=f"{op_type} has no {lacking} kernel: {len(copies)} copies between device and host at every run"
                + (f" (not repairable: {refusal})" if refusal else ""),
                evidence={
                    "copies": len(copies),
                    "to_host": [c.value for c in copies if c.direction == "to_host"],
                    "from_host": [c.value for c in copies if c.direction == "from_host"],
                },
                repair="" if refusal else "onnxfix repair --precision fp32",
                applicability=Applicability.MANUAL if refusal else Applicability.EXACT,
            )

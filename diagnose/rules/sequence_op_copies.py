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
        refusals = {s.node.name: s.refusal for s in split_sequences.find(subject.model)}
        sites = {n.name: Site.of_node(n) for n in subject.nodes if n.op_type in SEQUENCE_OPS}
        by_cause: dict[str, list[Copy]] = {}
        for copy in subject.plan.copies:
            if copy.cause_op_type in SEQUENCE_OPS:
                by_cause.setdefault(copy.cause_node, []).append(copy)
        # TensorRT leaves them to CUDA, which has no kernel
        lacking = next((p.label for p in reversed(subject.target.provider.chain) if p.device), "")
        for node, copies in by_cause.items():
            worst = max((Severity(c.severity) for c in copies), key=lambda s: s.rank)
            refusal = refusals.get(node, "no rewrite is known")
            op_type = copies[0].cause_op_type
            yield Finding(
                code=self.code,
                name=self.name,
                severity=worst,
                site=sites.get(node, Site(op_type=op_type, node=node, scope=copies[0].scope)),
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

"""Q003: quantized operators that run on the host of a GPU target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar

import onnx_ir as ir

from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.plan import NodePlacement
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites.constants import trace
from onnxfix.surgery.sites.linear.linears import QUANT_OPS


class QuantizedOpRunsOnCpu:
    """Quantized operators without a CUDA kernel: the session loads, lists CUDA, and computes the linears on the host.

    `DynamicQuantizeLinear` has no CUDA kernel and `MatMulInteger` has one for int8 × int8 only, while dynamic
    quantization makes uint8 activations. Every such layer costs two copies and a CPU product: 95.9 ms a sample against
    12.7 in fp32 in one published measurement.

    A `DequantizeLinear` of a constant, as ONNX Runtime's quantizer writes one for each int32 bias, is a note: it costs
    a copy of a few bytes.

    Repair: int8 dynamic models are for CPU (`--target cpu`); on CUDA use fp16, or weight-only quantization.
    """

    code: ClassVar[str] = "Q003"
    name: ClassVar[str] = "quantized-op-runs-on-cpu"

    def check(self, subject: Subject) -> Iterator[Finding]:
        if subject.target.provider.is_host:
            return
        on_host = [n for n in subject.plan.nodes if n.op_type in QUANT_OPS and n.lacks_kernel]
        biases = [n for n in on_host if _is_constant(subject.labelled.find(*n.key, n.op_type))]
        yield from self._found([n for n in on_host if n not in biases], Severity.ERROR)
        yield from self._found(biases, Severity.NOTE, " on constants, a bias for each layer: no product waits for them")

    def _found(self, on_host: Sequence[NodePlacement], severity: Severity, of_what: str = "") -> Iterator[Finding]:
        if not on_host:
            return
        counts = Counter(n.op_type for n in on_host)
        first = on_host[0]
        yield Finding(
            code=self.code,
            name=self.name,
            severity=severity,
            site=Site(first.scope, first.op_type, first.name, first.output),
            message=f"{len(on_host)} quantized nodes run on the host: "
            + ", ".join(f"{n} {op}" for op, n in counts.most_common())
            + of_what,
            evidence={"nodes": [n.name for n in on_host], "reason": first.reason},
            repair="onnxfix repair --precision fp16 on the float original",
        )


def _is_constant(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "DequantizeLinear" and trace(node.inputs[0]) is not None

"""Q004: operators between QuantizeLinear and DequantizeLinear that the target computes in float."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.nouns.finding import Finding, Severity
from onnxfix.nouns.plan import Unfused
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.surgery.sites.linear import linears

SEVERITIES = {"fails": Severity.ERROR, "slow": Severity.WARNING, "rounds": Severity.NOTE}
SAYS = {
    "fails": "fused with their QuantizeLinear and DequantizeLinear do not run",
    "slow": "compute in float on dequantized numbers",
    "rounds": "compute in float between DequantizeLinear and QuantizeLinear",
}


class QdqNotFused:
    """A QDQ model means integers, and ONNX Runtime computes in float: it dequantizes first and fuses nothing.

    In QDQ form a quantized product is a float product whose operands come from `DequantizeLinear`. A runtime must find
    the three or four nodes and put one integer kernel in their place. Where it does not, the model is slower than fp32
    (it also quantizes and dequantizes) and as wrong as int8. The CPU provider fuses no `Gemm` whose bias and
    result are in float (ONNX Runtime makes one of a MatMul and an Add on matrices), no product whose operands have 16
    bits or compute in float16, whose weight is in float, or whose result is read quantized and in float, and no `Conv`
    without `QuantizeLinear` behind it. With one scale a channel of an activation the fused kernel refuses to run: that
    is an error. A table behind `DequantizeLinear` is dequantized whole at every run. The CUDA provider fuses only a
    quantized weight with a float activation (`MatMulNBits`), nothing else.

    What is fused is not looked up but asked: ONNX Runtime optimises one of each kind of unit, on the CPU, without the
    weights. One finding a cause, with all nodes in its evidence. An operator without an integer kernel between a
    DequantizeLinear and a QuantizeLinear (LayerNormalization, Gelu) is a note: its input is rounded for nothing.
    TensorRT and OpenVINO read the pairs themselves and are not judged.

    Repair: quantize linears of the float original with `onnxfix repair --int8 dynamic` for a CPU and `--int8
    weight-only` for CUDA; leave other operators out of `op_types_to_quantize` for a CPU, or take fp16 for CUDA.
    """

    code: ClassVar[str] = "Q004"
    name: ClassVar[str] = "qdq-not-fused"

    def check(self, subject: Subject) -> Iterator[Finding]:
        causes: dict[tuple[str, str, str], list[Unfused]] = {}
        for one in subject.plan.unfused:
            causes.setdefault((one.op_type, one.reason, one.harm), []).append(one)
        for (op_type, reason, harm), found in causes.items():
            first = found[0]
            yield Finding(
                code=self.code,
                name=self.name,
                severity=SEVERITIES[harm],
                site=Site(first.scope, op_type, first.node, first.output),
                message=f"{len(found)} × {op_type} {SAYS[harm]}: {reason}",
                evidence={"count": len(found), "nodes": [x.node for x in found], "reason": reason},
                repair=_repair(op_type, subject) if harm != "rounds" else "",
            )


def _repair(op_type: str, subject: Subject) -> str:
    """What makes an operator faster than this: integers where it is a linear, which are all that --int8 takes."""
    provider = subject.target.provider
    if op_type in ("MatMul", "Gemm", "Gather") and linears.find(subject.model, subject.types):
        kind = "weight-only" if "dynamic" in provider.refuses else "dynamic"
        return f"onnxfix repair --int8 {kind} on the float original"
    if provider.is_host:
        return f"quantize the float original without {op_type}: leave it out of op_types_to_quantize"
    return "onnxfix repair --precision fp16 on the float original"

"""P002: rotary angles computed in half precision, silently wrong at length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxfix.nouns.finding import Applicability, Finding, Scalar, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.site import Site
from onnxfix.nouns.types.type_strings import HALVES, data_type
from onnxfix.surgery.sites.attention import rotary
from onnxfix.surgery.sites.constants import constant_tensor


class RotaryHalfPrecision:
    """Position angles (position × inverse frequency) in fp16 or bf16.

    fp16 holds integers exactly up to 2,048 and bf16 up to 256, and a product of 4,000 has a spacing of 2: the cosine of
    such an angle is noise. Models converted so load and run; their error grows with the position (measured cos error
    0.07 at position 512, 0.64 at 4,096 on a CPU, where the runtime computes in fp32 in between; about 2 in real half).
    Inverse frequencies that were rounded to half before fp32 arithmetic are wrong too: 0.086 at position 4,099.

    Repair: `onnxfix repair --keep-rotary-fp32` (the default) on this file restores the frequencies where their formula
    can be told from the rounded numbers, and says what may be left; on the fp32 original nothing was lost.
    """

    code: ClassVar[str] = "P002"
    name: ClassVar[str] = "rotary-half-precision"

    def check(self, subject: Subject) -> Iterator[Finding]:
        for site in rotary.find(subject.model, subject.types):
            known = [(v, subject.types.get(v)) for n in site.angle_nodes for v in n.outputs]
            halves = [v for v, t in known if t in HALVES]
            rounded = [v for v in site.constants if _stored_half(v)]
            if not halves and not rounded:
                continue
            trig = site.trig[0]
            kind = subject.types.get(halves[0] if halves else rounded[0]) or "tensor(float16)"
            what = f"the angle {halves[0].name} is computed" if halves else f"{rounded[0].name} is stored"
            yield Finding(
                code=self.code,
                name=self.name,
                severity=Severity.ERROR,
                site=Site.of_node(trig),
                message=f"rotary {what} in {kind[7:-1]}: positions beyond a few hundred get wrong angles",
                evidence=_evidence(site, halves, kind),
                repair=f"onnxfix repair --precision {'bf16' if 'bfloat' in kind else 'fp16'} --keep-rotary-fp32",
                applicability=Applicability.NUMERIC,
            )


def _stored_half(value: ir.Value) -> bool:
    tensor = constant_tensor(value)
    return tensor is not None and tensor.size > 1 and tensor.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def _evidence(site: rotary.RotarySite, halves: list[ir.Value], kind: str) -> dict[str, Scalar | list[str]]:
    """Values in half, and the cos error that half arithmetic makes of the stored frequencies at three positions."""
    evidence: dict[str, Scalar | list[str]] = {"half_values": [v.name or "" for v in halves][:20]}
    tensors = [constant_tensor(v) for v in site.constants]
    frequencies = next((t.numpy() for t in tensors if t is not None and t.size > 1), None)
    if frequencies is None or not halves:
        return evidence
    half = data_type(kind).numpy()
    exact = frequencies.astype(np.float64).reshape(-1)
    # no powers of two: those multiply without rounding
    for position in (500, 2000, 4000):
        rounded = (np.array(position).astype(half) * exact.astype(half)).astype(half).astype(np.float64)
        evidence[f"cos_error_at_{position}"] = float(np.abs(np.cos(rounded) - np.cos(position * exact)).max())
    return evidence

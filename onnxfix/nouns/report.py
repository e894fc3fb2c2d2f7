"""Report: everything one `diagnose` run says, as schema-versioned JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .finding import Finding, Severity
from .layer_noise import Against
from .model import Model
from .plan import Plan
from .runtime.attention_kernels import AttentionKernels
from .target import Target

SCHEMA = "onnxfix.diagnose/1"


@dataclass(frozen=True)
class Budget:
    """A limit of a figure: `memcpy` and `bytes` at most, `quantized`, a share of the linears, at least."""

    name: str
    limit: float
    found: float

    @property
    def is_met(self) -> bool:
        return self.found >= self.limit if self.name == "quantized" else self.found <= self.limit

    def as_dict(self) -> dict[str, object]:
        return {"name": self.name, "limit": self.limit, "found": self.found, "met": self.is_met}


@dataclass(frozen=True)
class Report:
    """The result of diagnosing one model for one target; `quantization` is the coverage of its linear layers."""

    model: Mapping[str, object]
    target: Mapping[str, object]
    plan: Plan
    quantization: Mapping[str, object]
    findings: tuple[Finding, ...]
    against: Against | None = None
    next_step: str = ""
    """A command, or a call of Python, for a model that nothing was found in."""
    attentions: tuple[AttentionKernels, ...] = ()
    """Which kernel computes each attention, on CUDA."""
    budgets: tuple[Budget, ...] = ()
    """Those that were asked for."""
    accepted: int = 0
    """Findings that a baseline accepts, which are left out."""

    @staticmethod
    def of(
        model: Model,
        target: Target,
        plan: Plan,
        quantization: Mapping[str, object],
        findings: Sequence[Finding],
        against: Against | None = None,
        attentions: tuple[AttentionKernels, ...] = (),
    ) -> Report:
        return Report(
            model={
                "path": str(model.path),
                "nodes": model.stated or sum(1 for _ in model.nodes()),
                "opset": model.opset,
                "ir_version": model.ir.ir_version,
                "weights_bytes": model.weights_bytes,
            },
            target={
                "provider": target.provider.name,
                "onnxruntime": target.table.requested,
                "kernel_table": target.table.version,
                "engine": plan.engine,
            },
            plan=plan,
            quantization=quantization,
            # what keeps a model from loading comes first: nothing else matters until it does
            findings=tuple(sorted(findings, key=lambda f: (f.name != "does-not-load", -f.severity.rank, f.code))),
            against=against,
            attentions=attentions,
        )

    def summary(self) -> dict[str, int]:
        counts = Counter(f.severity for f in self.findings)
        return {s.value: counts[s] for s in (Severity.ERROR, Severity.WARNING, Severity.NOTE)}

    def fails(self, fail_on: str) -> bool:
        """Whether a finding is at or above `error`, `warning` or `note`, or a budget is not met; never for `never`."""
        if fail_on == "never":
            return False
        if not all(budget.is_met for budget in self.budgets):
            return True
        limit = Severity(fail_on).rank
        return any(f.severity.rank >= limit for f in self.findings)

    def as_dict(self) -> dict[str, object]:
        return {
            "schema": SCHEMA,
            "model": dict(self.model),
            "target": dict(self.target),
            "placement": self.plan.as_dict(),
            "quantization": dict(self.quantization),
            **({"against": self.against.as_dict()} if self.against else {}),
            **({"attention": [each.as_dict() for each in self.attentions]} if self.attentions else {}),
            "findings": [f.as_dict() for f in self.findings],
            "summary": self.summary(),
            **({"budgets": [each.as_dict() for each in self.budgets]} if self.budgets else {}),
            **({"accepted": self.accepted} if self.accepted else {}),
            **({"next": self.next_step} if self.next_step else {}),
        }

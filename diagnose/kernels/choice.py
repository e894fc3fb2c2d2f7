"""kernel_choice: what is taken for one case on one GPU, in the order in which ONNX Runtime tries its kernels."""

from __future__ import annotations

from onnxfix.nouns.runtime.attention_kernels import Kernel, KernelChoice, Refused, Taken

from .cases import Case
from .operators import OPERATORS, Operator, Tried
from .settings import Settings
from .verdicts import Against, Asked, When

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
"""Turing, Ampere twice, Ada, Hopper, Blackwell twice: those that onnxruntime-gpu 1.31.1 holds kernels for."""
REFERENCE = 80
"""What a rule judges: Ampere and Ada choose alike."""
DEFAULTS = Settings()


def kernel_choice(case: Case, sm: int = REFERENCE, settings: Settings = DEFAULTS) -> KernelChoice:
    """The kernel for `case` on a GPU of compute capability `sm` (80 for 8.0), and every reason against faster ones.

    Where a size is not known, all kernels that it decides between, each with the condition on it. Raises KeyError for
    an operator that has no choice of kernels. As ONNX Runtime 1.31; see the package.
    """
    operator = OPERATORS[_key(case.operator)]
    if case.element and case.element not in operator.elements:
        reason = f"{operator.name} has no CUDA kernel in {case.element}"
        return KernelChoice((Taken(Kernel.NONE),), (Refused(Kernel.UNFUSED, (reason,)),))
    taken: list[Taken] = []
    refused: list[Refused] = []
    asked = Asked(case, sm, settings)
    for tried in operator.tried:
        if not tried.meant(asked):
            continue
        found = _tried(tried, asked)
        if isinstance(found, Refused):
            refused.append(found)
            continue
        taken.append(found)
        if not found.when:
            return KernelChoice(tuple(taken), tuple(refused))
    return KernelChoice((*taken, Taken(operator.otherwise)), tuple(refused))


def name_of(operator: Operator) -> str:
    """`com.microsoft.Attention`, `ai.onnx.Attention`: two operators have one name."""
    return f"{operator.domain or 'ai.onnx'}.{operator.name}"


def _key(name: str) -> tuple[str, str]:
    domain, _, op_type = name.rpartition(".")
    return "" if domain == "ai.onnx" else domain, op_type


def _tried(tried: Tried, asked: Asked) -> Taken | Refused:
    verdicts = [(condition.needs, condition.verdict(asked)) for condition in tried.conditions]
    against = [verdict.reason for _, verdict in verdicts if isinstance(verdict, Against)]
    if against:
        return Refused(tried.kernel, tuple(dict.fromkeys(against)))
    when = [verdict.words for _, verdict in verdicts if isinstance(verdict, When)]
    because = tuple(needs for needs, verdict in verdicts if verdict is None)
    return Taken(tried.kernel, " and ".join(dict.fromkeys(when)), because)

"""Whether an operator falls to the unfused kernel against its will, and what would keep it from that.

Found by trying: a change of the case that leads to a faster kernel is a remedy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onnxfix.nouns.runtime.attention_kernels import Kernel, KernelChoice

from .cases import Case, Mask
from .choice import REFERENCE, kernel_choice
from .settings import Settings

# Rows of fewer than 256 tokens in fp32 are left to the unfused kernel since it is faster there: no defect.
_ANY_LENGTH = Settings(long_fp32=0)
LONG = 4096
FP16 = "onnxfix repair --precision fp16"
_MASKS = (Mask.KEYS, Mask.SCORES, Mask.FOUR, Mask.ENDS, Mask.LENGTHS)


def unfused(case: Case) -> str:
    """Why, as the end of a sentence; empty for a case that takes a fused kernel, or of which too little is known.

    Judged for Ampere and Ada (sm 80 to 89), where a case that depends on the length of its rows counts, unless short
    rows in fp32 are all that it depends on.
    """
    if not case.element or case.size is None or case.mask is Mask.OPEN:
        return ""
    choice = _judged(case)
    if choice.kernel is not Kernel.UNFUSED:
        return ""
    open_ = [taken for taken in choice.taken if taken.when]
    if open_:
        return f"unless {' or '.join(dict.fromkeys(taken.when for taken in open_))}{_causes(case, choice)}"
    reasons = [reason for each in choice.refused for reason in each.reasons if each.kernel is _last(choice)]
    return ", ".join(dict.fromkeys(reasons))


def remedy(case: Case) -> str:
    """The first change, or the first two, after which the case takes a fused kernel whatever its rows are."""
    if not unfused(case):
        return ""
    single = list(_changes(case))
    for words, change in single:
        if _helps(change(case)):
            return words
    for words, change in single:
        for more, another in _changes(change(case)):
            if more != words and _helps(another(change(case))):
                return _both(words, more)
    return ""


def _changes(case: Case) -> list[tuple[str, Callable[[Case], Case]]]:
    found: list[tuple[str, Callable[[Case], Case]]] = []
    if case.element == "fp32":
        found.append((FP16, lambda c: replace(c, element="fp16")))
    if case.bias and not case.operator.endswith("GroupQueryAttention"):
        standard = case.operator == "ai.onnx.Attention"
        step = 4 if standard else 4 * case.bytes
        found.append((f"pad rows to a multiple of {step} tokens", lambda c: _padded(c, step)))
    if case.bias and case.operator.endswith("GroupQueryAttention"):
        words = "leave attention_bias out: seqlens_k says how many keys a row has"
        found.append((words, lambda c: replace(c, bias=False)))
    if case.mask in _MASKS:
        words = "give the mask as lengths and offsets [3 · batch + 2] where rows are padded at one end"
        found.append((words, lambda c: replace(c, mask=Mask.OFFSETS)))
    if case.scores:
        found.append(("do not give out the scores", lambda c: replace(c, scores=False)))
    return found


def _padded(case: Case, step: int) -> Case:
    long = LONG * step
    return replace(case, queries=long, keys=long)


def _both(words: str, more: str) -> str:
    """A command stands first, and only alone."""
    if more.startswith("onnxfix "):
        words, more = more, words
    if words.startswith("onnxfix "):
        return f"convert to fp16, and {more}"
    return f"{words}, and {more}"


def _helps(case: Case) -> bool:
    return _judged(case).kernel is not Kernel.UNFUSED


def _judged(case: Case) -> KernelChoice:
    return kernel_choice(case, REFERENCE, _ANY_LENGTH)


def _last(choice: KernelChoice) -> Kernel:
    return choice.refused[-1].kernel if choice.refused else Kernel.UNFUSED


def _causes(case: Case, choice: KernelChoice) -> str:
    """What brings the condition about: a bias has to be aligned."""
    if not case.bias:
        return ""
    return f": has an {'attn_mask' if case.operator == 'ai.onnx.Attention' else 'attention_bias'}"

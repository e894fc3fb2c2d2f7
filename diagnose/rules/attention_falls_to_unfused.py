"""F001: an operator of attention that CUDA computes with its unfused kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.diagnose.kernels.choice import REFERENCE
from onnxfix.nouns.finding import Applicability, Finding, Severity
from onnxfix.nouns.rule import Subject
from onnxfix.nouns.runtime.attention_kernels import AttentionKernels, KernelChoice

NUMERIC, MANUAL = Applicability.NUMERIC, Applicability.MANUAL


class AttentionFallsToUnfused:
    """An operator of attention is there, and ONNX Runtime computes it as if it were written out.

    The CUDA provider has up to five kernels for an operator of attention: cuDNN's, flash, TensorRT's and the
    memory-efficient one keep scores on the chip; the unfused one writes [batch, heads, queries, keys] scores to memory,
    reads them for a softmax, writes and reads them again. Which one it takes is decided when the model runs, by type,
    head size, mask, bias and lengths, and nothing is said of it: a mask [batch, keys] at `MultiHeadAttention` or any
    `attention_bias` at `GroupQueryAttention` leaves only the unfused kernel, and a bias at `MultiHeadAttention` leaves
    the memory-efficient one to rows of a multiple of 8 tokens (16 in fp32), which one batch in eight is by chance.

    Judged for Ampere and Ada (sm 80 to 89), in a session that nobody changed; the table of attentions below the
    findings says all architectures, and all conditions stand in docs/attention-kernels.md. Rows of fewer than 256
    tokens in fp32 go to the unfused kernel on purpose and are no finding. `ORT_ENABLE_ATTENTION_KERNEL_DEBUG_INFO=1`
    prints the kernels that a run takes.

    Repair: `onnxfix repair --precision fp16` where the type stands against all other kernels; else what the finding
    says of the mask, the bias or the length of the rows, which are what the program feeds.
    """

    code: ClassVar[str] = "F001"
    name: ClassVar[str] = "attention-falls-to-unfused"

    def check(self, subject: Subject) -> Iterator[Finding]:
        if subject.plan.load_error:
            return  # the runtime never comes to choosing a kernel: K004 and P001 say why
        for each in subject.attentions:
            if each.unfused:
                yield self._finding(each, each.choices[REFERENCE])

    def _finding(self, attention: AttentionKernels, choice: KernelChoice) -> Finding:
        return Finding(
            code=self.code,
            name=self.name,
            severity=Severity.WARNING,
            site=attention.site,
            message=f"{attention.operator} in {attention.element} takes the unfused kernel, {_why(attention.unfused)}",
            evidence={"kernel": choice.words(), "refused": choice.why_not(), "operator": attention.operator},
            repair=attention.remedy,
            applicability=NUMERIC if attention.remedy.startswith("onnxfix repair ") else MANUAL,
        )


def _why(reason: str) -> str:
    return reason if reason.startswith("unless ") else f"as it {reason}"

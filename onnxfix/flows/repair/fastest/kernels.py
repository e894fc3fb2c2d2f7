"""Which CUDA kernel each attention of a result will get, and why none of the faster ones, in a line for all alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnxfix.nouns.report import Report
from onnxfix.nouns.runtime.attention_kernels import AttentionKernels, KernelChoice
from onnxfix.nouns.types.counts import plural


def kernels_in_words(report: Report) -> list[str]:
    """Of a diagnosis for CUDA, by what ONNX Runtime's sources choose; nothing of it was run."""
    groups: dict[tuple[str, ...], list[AttentionKernels]] = {}
    for each in report.attentions:
        groups.setdefault(_said(each.choices), []).append(each)
    return [f"{_which(found)}: {'; '.join(said)}" for said, found in groups.items()]


def _which(found: Sequence[AttentionKernels]) -> str:
    first = found[0]
    kind = f" in {first.element}" if first.element else ""
    return f"{plural(len(found), 'attention')}{kind} on CUDA, {first.site} {'first' if len(found) > 1 else 'alone'}"


def _said(choices: Mapping[int, KernelChoice]) -> tuple[str, ...]:
    """`flash from sm 80 on, memory-efficient before: …`: architectures that choose alike, newest last."""
    runs: list[tuple[list[int], KernelChoice]] = []
    for sm, choice in sorted(choices.items()):
        if runs and (runs[-1][1].words(), runs[-1][1].why_not()) == (choice.words(), choice.why_not()):
            runs[-1][0].append(sm)
        else:
            runs.append(([sm], choice))
    return tuple(_of_architectures(sms, choice, len(runs)) for sms, choice in runs)


def _of_architectures(sms: Sequence[int], choice: KernelChoice, runs: int) -> str:
    where = "" if runs == 1 else f" on sm {sms[0]}" + (f" to {sms[-1]}" if len(sms) > 1 else "")
    why = choice.why_not()
    return f"{choice.words()}{where}" + (f" ({why})" if why else "")

"""Which CUDA kernel each attention of a result will get, and why none of the faster ones, in a line for all alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

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
    where = first.site.scope or str(first.site)
    return f"{plural(len(found), 'attention')}{kind} on CUDA, {where}{' first' if len(found) > 1 else ''}"


def _said(choices: Mapping[int, KernelChoice]) -> tuple[str, ...]:
    """`memory-efficient on sm 75`, `flash on sm 80 to 89`: architectures that choose alike, the newest last."""
    runs: list[tuple[list[int], str]] = []
    for sm, choice in sorted(choices.items()):
        said = _in_words(choice)
        if runs and runs[-1][1] == said:
            runs[-1][0].append(sm)
        else:
            runs.append(([sm], said))
    if len(runs) == 1:
        return (runs[0][1],)
    return tuple(f"on sm {sms[0]}{f' to {sms[-1]}' if len(sms) > 1 else ''} {said}" for sms, said in runs)


def _in_words(choice: KernelChoice) -> str:
    """With what stands against faster kernels, but for the GPU, which is said beside it."""
    refused = [(each, tuple(why for why in each.reasons if not why.startswith("needs sm "))) for each in choice.refused]
    of_graph = tuple(replace(each, reasons=reasons) for each, reasons in refused if reasons)
    why = replace(choice, refused=of_graph).why_not()
    return f"{choice.words()}{f' ({why})' if why else ''}"

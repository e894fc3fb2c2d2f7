"""The table of attentions: which CUDA kernel computes them, by the GPU, and why no faster one does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnxfix.nouns.runtime.attention_kernels import SLOW, AttentionKernels, Kernel, KernelChoice
from onnxfix.render.table import Cell, Column, Line, Table
from onnxfix.render.words import plural, visible

from .places import pattern

RELEASE = "1.31"
"""Whose choices were followed and checked."""
TITLE = "Kernels of attention on CUDA"
HINT = (
    f"As ONNX Runtime {RELEASE} chooses when the model runs, by type, head size, mask, bias and lengths, in a session "
    "that changes none of its settings."
)


@dataclass(frozen=True)
class Alike:
    """Attentions with one choice on every GPU. `title`: `22 × MultiHeadAttention in fp16, model.layers.*.attn`."""

    title: str
    first: AttentionKernels

    def choices(self) -> list[tuple[str, KernelChoice]]:
        """Neighbouring architectures that take the same kernel together, with the reasons on the newest of them."""
        runs: list[tuple[list[int], KernelChoice]] = []
        for sm, choice in sorted(self.first.choices.items()):
            if runs and runs[-1][1].words() == choice.words():
                runs[-1] = ([*runs[-1][0], sm], choice)
            else:
                runs.append(([sm], choice))
        newest = max(self.first.choices, default=0)
        return [(_gpus(sms, len(runs) == 1, sms[-1] == newest), choice) for sms, choice in runs]

    def why(self, choice: KernelChoice) -> str:
        """What stands against faster kernels; of one that is written out, against one operator, or what that took."""
        if self.first.operator != Kernel.WRITTEN_OUT:
            return choice.why_not()
        reasons = [reason for refused in choice.refused for reason in refused.reasons]
        return self.first.instead or f"no operator of attention is read in it: {', '.join(reasons)}"

    def least(self) -> str:
        """Least times of one of them by the GPU, empty where they are not known."""
        found = self.first.least
        if not found:
            return ""
        size = f"{found[0].rows:,} × {found[0].tokens:,} tokens"
        fused = ", ".join(f"{time.gpu} {_ms(time.fused_ms)} ms" for time in found)
        in_memory = ", ".join(f"{_ms(time.unfused_ms)} ms" for time in found)
        return f"estimate by roofline, {size}: at least {fused}; with all scores in memory {in_memory}"


def _ms(time: float) -> str:
    return f"{time:.2g}" if time < 100 else f"{time:,.0f}"


def style(choice: KernelChoice) -> str:
    """Bad where all scores are in memory whatever the rows are, doubtful where it depends on them."""
    if choice.kernel not in SLOW:
        return ""
    return "lost" if choice.fastest in SLOW and choice.kernel is not Kernel.WRITTEN_OUT else "noisy"


def alike(found: Sequence[AttentionKernels]) -> list[Alike]:
    """In the order of the first of each."""
    groups: dict[object, list[AttentionKernels]] = {}
    for each in found:
        said = tuple((choice.words(), choice.why_not()) for choice in each.choices.values())
        groups.setdefault((each.operator, each.element, each.instead, said), []).append(each)
    titles: set[str] = set()
    made = []
    for members in groups.values():
        title = _title(members)
        if title in titles:
            title += f", {visible(members[0].site.node)} first"
        titles.add(title)
        made.append(Alike(title, members[0]))
    return made


def attentions(found: Sequence[AttentionKernels]) -> Table:
    """A line for each group of GPUs, under the attentions it is about."""
    lines = []
    for each in alike(found):
        for gpus, choice in each.choices():
            cells = Cell(choice.words(), style=style(choice)), Cell(gpus), Cell(each.why(choice))
            lines.append(Line(cells, group=each.title))
        if least := each.least():
            lines.append(Line((Cell(), Cell(), Cell(least)), group=each.title))
    return Table((Column("kernel", least=24), Column("GPU"), Column("why no faster one")), tuple(lines))


def _title(members: Sequence[AttentionKernels]) -> str:
    first = members[0]
    what = f"attention {first.operator}" if first.operator == Kernel.WRITTEN_OUT else first.operator
    kind = f" in {first.element}" if first.element else ""
    if len(members) == 1:
        return f"{what}{kind}, {visible(first.site.node)}"
    places = list(dict.fromkeys(pattern(each.site.scope, "", each.site.node) for each in members))
    more = f" and {plural(len(places) - 1, 'more place')}" if len(places) > 1 else ""
    return f"{len(members):,} × {what}{kind}, {places[0]}{more}"


def _gpus(sms: Sequence[int], every: bool, open_ended: bool) -> str:
    if every:
        return "every GPU"
    if open_ended:
        return f"sm {sms[0]} on"
    return f"sm {sms[0]}–{sms[-1]}" if len(sms) > 1 else f"sm {sms[0]}"

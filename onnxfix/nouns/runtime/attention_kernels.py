"""Which CUDA kernel computes an attention, under which condition, and why none of the faster ones does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from onnxfix.nouns.site import Site


class Kernel(StrEnum):
    """What ONNX Runtime's CUDA provider has for attention, as reports call it."""

    XQA = "XQA"
    CUDNN = "cuDNN"
    FLASH = "flash"
    TRT_CROSS = "TensorRT cross"
    TRT = "TensorRT"
    MEMORY_EFFICIENT = "memory-efficient"
    UNFUSED = "unfused"
    """Two products and a softmax, with all scores in memory."""
    NONE = "none"
    """No kernel of the CUDA provider takes it: it runs on the host, or the run fails."""
    WRITTEN_OUT = "written out"
    """No operator of attention: a kernel for each product, each sum and the softmax, with all scores in memory."""


SLOW = frozenset({Kernel.UNFUSED, Kernel.WRITTEN_OUT, Kernel.NONE})
"""Those that keep [batch, heads, queries, keys] scores in memory, or do not run there."""


@dataclass(frozen=True)
class Taken:
    """A kernel that is taken `when` something holds that the file does not tell, or always where that is empty.
    `because`: the conditions of the kernel that the file does tell to hold."""

    kernel: Kernel
    when: str = ""
    because: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        return {"kernel": self.kernel.value, "when": self.when, "because": list(self.because)}


@dataclass(frozen=True)
class Refused:
    """A faster kernel that never takes the attention, and every reason that the file tells."""

    kernel: Kernel
    reasons: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        return {"kernel": self.kernel.value, "reasons": list(self.reasons)}


@dataclass(frozen=True)
class KernelChoice:
    """`taken`: in the order in which they are tried, the last one without a condition. `refused`: faster ones."""

    taken: tuple[Taken, ...]
    refused: tuple[Refused, ...] = ()

    @property
    def kernel(self) -> Kernel:
        """What is left where no open condition holds: the slowest that may be taken."""
        return self.taken[-1].kernel

    @property
    def fastest(self) -> Kernel:
        """What is taken where every open condition holds."""
        return self.taken[0].kernel

    def words(self) -> str:
        """`memory-efficient if the queries are a multiple of 8, else unfused`."""
        parts = [f"{each.kernel} if {each.when}" if each.when else str(each.kernel) for each in self.taken]
        return ", else ".join(parts)

    def why_not(self) -> str:
        """`not cuDNN: sm 80, before sm 90; not flash or TensorRT: has an attention_bias`: a line a reason."""
        kernels: dict[tuple[str, ...], list[str]] = {}
        for each in self.refused:
            kernels.setdefault(each.reasons, []).append(str(each.kernel))
        return "; ".join(f"not {_either(names)}: {', '.join(why)}" for why, names in kernels.items())

    def as_dict(self) -> dict[str, object]:
        return {
            "kernel": self.words(),
            "taken": [each.as_dict() for each in self.taken],
            "refused": [each.as_dict() for each in self.refused],
        }


@dataclass(frozen=True)
class LeastTime:
    """Milliseconds that an attention of `rows` × `tokens` takes on a GPU at least, by its roofline and no measurement:
    without scores in memory, and with them."""

    gpu: str
    sm: int
    rows: int
    tokens: int
    fused_ms: float
    unfused_ms: float


@dataclass(frozen=True)
class AttentionKernels:
    """One attention of a model and its kernel by architecture of the GPU, 80 for sm 80. `element`: fp16, bf16, fp32,
    or empty. `instead`: what one operator in the place of a written-out attention would take. `unfused`: why an
    operator falls to the unfused kernel where ONNX Runtime would rather not, empty where it does not. `remedy`: what
    would help, in words or as a command; empty where nothing is known to."""

    site: Site
    operator: str
    element: str
    choices: Mapping[int, KernelChoice] = field(default_factory=dict)
    instead: str = ""
    unfused: str = ""
    remedy: str = ""
    least: tuple[LeastTime, ...] = ()

    def as_dict(self) -> dict[str, object]:
        return {
            **self.site.as_dict(),
            "operator": self.operator,
            "element": self.element,
            "kernels": {f"sm {sm}": choice.as_dict() for sm, choice in self.choices.items()},
            "instead": self.instead,
            "unfused": self.unfused,
            "remedy": self.remedy,
            **({"roofline_estimate": [asdict(each) for each in self.least]} if self.least else {}),
        }


def _either(names: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))

"""For each operator of attention the CUDA kernels in the order in which they are tried, each with its conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnxfix.nouns.runtime.attention_kernels import Kernel

from . import conditions as c
from . import lengths as n
from . import sizes as s
from .verdicts import Asked, Condition, elements


@dataclass(frozen=True)
class Tried:
    """A kernel with all that must hold for it. `meant`: whether a case is of its kind at all; it is not worth a word
    that the kernels of decoding do not take an encoder. `where` says of a kernel that is tried at two places on which
    GPUs."""

    kernel: Kernel
    conditions: tuple[Condition, ...]
    meant: Callable[[Asked], bool] = lambda asked: True
    where: str = ""


@dataclass(frozen=True)
class Operator:
    """`source`: the file of ONNX Runtime that chooses. `elements`: types that the CUDA provider has a kernel for.
    `otherwise`: what is left; NONE where the run ends in an error."""

    domain: str
    name: str
    source: str
    elements: tuple[str, ...]
    tried: tuple[Tried, ...]
    otherwise: Kernel = Kernel.UNFUSED


SIXTEEN = elements("fp16", "bf16")
FP16 = elements("fp16")
FLASH_SIZES = (s.newest(80), s.heads(256))


def _on_trt(asked: Asked) -> bool:
    """From Hopper on cuDNN stands in the place of TensorRT's kernels."""
    return asked.sm in s.TRT_SM


MICROSOFT = "com.microsoft"
BERT = "contrib_ops/cuda/bert/"

CUDNN_OF_MULTI_HEAD = (s.CUDNN_ALLOWED, SIXTEEN, c.LENGTHS_OR_NO_MASK, n.ALIGNED_TO_THE_END, s.heads(256))
MULTI_HEAD = Operator(
    MICROSOFT, "MultiHeadAttention", BERT + "multihead_attention.cc", ("fp32", "fp16", "bf16"),
    (
        Tried(Kernel.CUDNN, CUDNN_OF_MULTI_HEAD, lambda asked: asked.sm >= s.AUTOMATIC, "from sm 90 on"),
        Tried(Kernel.FLASH, (
            c.FLASH_ALLOWED, FP16, c.NO_BIAS, c.NO_MASK, c.NO_STEPS, c.NO_SCORES, s.SAME_SIZES, *FLASH_SIZES,
        )),
        Tried(Kernel.CUDNN, CUDNN_OF_MULTI_HEAD, lambda asked: asked.sm < s.AUTOMATIC, "before sm 90"),
        Tried(Kernel.TRT_CROSS, (
            c.CROSS_ALLOWED, FP16, c.BIDIRECTIONAL, c.NO_BIAS, c.NO_MASK, c.NO_CACHE, c.NO_STEPS, c.NO_SCORES,
            c.CROSS_LAYOUT, s.SAME_SIZES, s.CROSS_SIZES, s.FEW_KEYS,
        ), _on_trt),
        Tried(Kernel.TRT, (
            c.TRT_ALLOWED, FP16, c.BIDIRECTIONAL, c.NO_BIAS, c.LENGTHS_OR_NO_MASK, c.NO_CACHE, c.NO_STEPS, c.NO_SCORES,
            c.SELF_LAYOUT, s.SAME_SIZES, n.SELF_ATTENTION, s.TRT_SIZES,
        ), _on_trt),
        Tried(Kernel.MEMORY_EFFICIENT, (
            c.EFFICIENT_ALLOWED, c.OFFSETS_OR_NO_MASK, c.NO_STEPS, c.NO_SCORES, s.EFFICIENT_SM, s.heads(1024),
            n.LONG_UNLESS_FP16, n.ALIGNED_QUERIES,
        )),
    ),
)  # fmt: skip

ATTENTION = Operator(
    MICROSOFT, "Attention", BERT + "attention.cc", ("fp32", "fp16", "bf16"),
    (
        Tried(Kernel.CUDNN, (s.CUDNN_ALLOWED, SIXTEEN, c.LENGTHS_OR_NO_MASK, c.NO_CACHE, s.heads(256))),
        Tried(Kernel.FLASH, (
            c.FLASH_ALLOWED, SIXTEEN, c.NO_BIAS, c.NO_MASK, c.NO_CACHE, s.SAME_SIZES, *FLASH_SIZES, n.LONG_IF_PACKED,
        )),
        Tried(Kernel.TRT, (
            c.TRT_ALLOWED, FP16, c.BIDIRECTIONAL, c.NO_BIAS, c.LENGTHS_OR_NO_MASK, c.NO_CACHE, s.SAME_SIZES,
            s.TRT_SIZES,
        ), _on_trt),
        Tried(Kernel.MEMORY_EFFICIENT, (
            c.EFFICIENT_ALLOWED, elements("fp16", "fp32"), c.OFFSETS_OR_NO_MASK, c.NO_CACHE, s.heads(1024),
            n.LONG_IN_FP32, n.ALIGNED_QUERIES,
        )),
    ),
)  # fmt: skip

PACKED_MULTI_HEAD = Operator(
    MICROSOFT, "PackedMultiHeadAttention", BERT + "packed_multihead_attention.cc", ("fp32", "fp16"),
    (
        Tried(Kernel.FLASH, (c.FLASH_ALLOWED, FP16, c.NO_BIAS, s.SAME_SIZES, *FLASH_SIZES, n.LONG_IF_PACKED)),
        Tried(Kernel.TRT, (c.TRT_ALLOWED, FP16, c.NO_BIAS, s.SAME_SIZES, s.TRT_SIZES), _on_trt),
        Tried(Kernel.MEMORY_EFFICIENT, (c.EFFICIENT_ALLOWED, s.heads(1024), n.LONG_IN_FP32, n.ALIGNED_QUERIES)),
    ),
)  # fmt: skip

PACKED = Operator(
    MICROSOFT, "PackedAttention", BERT + "packed_attention.cc", ("fp32", "fp16"),
    (
        Tried(Kernel.TRT, (c.TRT_ALLOWED, FP16, c.NO_BIAS, s.SAME_SIZES, s.TRT_SIZES), _on_trt),
        # packed_attention.cc asks no setting here, and takes two bytes only
        Tried(Kernel.MEMORY_EFFICIENT, (FP16, s.heads(1024), n.ALIGNED_QUERIES)),
    ),
)  # fmt: skip

# group_query_attention.cc takes heads of up to 512 only (MAX_HEAD_SIZE), of a multiple of 8
GROUP_QUERY = Operator(
    MICROSOFT, "GroupQueryAttention", BERT + "group_query_attention.cc", ("fp16", "bf16"),
    (
        Tried(Kernel.XQA, (
            c.XQA_ALLOWED, s.newest(80), c.CAUSAL, c.NO_BIAS, c.NO_SOFTCAP, c.NO_SMOOTH, c.PAST, s.XQA_SIZES,
            n.ONE_TOKEN, n.IN_PLACE,
        ), lambda asked: asked.case.past),
        Tried(Kernel.CUDNN, (
            s.CUDNN_ALLOWED, c.NO_BIAS, c.PLAIN_CACHE, c.NO_SOFTCAP, c.NO_SINK, c.NO_WINDOW, s.heads(256),
        )),
        Tried(Kernel.FLASH, (c.FLASH_ALLOWED, c.NO_BIAS, *FLASH_SIZES)),
        Tried(Kernel.MEMORY_EFFICIENT, (
            c.EFFICIENT_ALLOWED, c.NO_BIAS, c.PLAIN_CACHE, s.EFFICIENT_SM, s.heads(512),
        )),
        Tried(Kernel.UNFUSED, (c.PLAIN_CACHE, c.NO_SINK, s.heads(512))),
    ),
    otherwise=Kernel.NONE,
)  # fmt: skip

PAGED = Operator(
    MICROSOFT, "PagedAttention", BERT + "paged_attention.cc", ("fp16", "bf16"),
    (
        Tried(Kernel.FLASH, (c.FLASH_ALLOWED, *FLASH_SIZES)),
        Tried(Kernel.MEMORY_EFFICIENT, (c.EFFICIENT_ALLOWED, s.EFFICIENT_SM, s.heads(1024))),
    ),
    otherwise=Kernel.NONE,
)  # fmt: skip

STANDARD = Operator(
    "", "Attention", "core/providers/cuda/llm/attention.cc", ("fp32", "fp16", "bf16"),
    (
        Tried(Kernel.CUDNN, (
            s.CUDNN_ALLOWED, SIXTEEN, c.NO_ADDED_MASK, c.NO_SCORES, c.LENGTHS_GIVEN, n.ONE_TOKEN, s.heads(256),
        ), lambda asked: asked.case.lengths),
        Tried(Kernel.FLASH, (
            c.FLASH_ALLOWED, SIXTEEN, c.NO_ADDED_MASK, c.NO_SCORES, s.SAME_SIZES, *FLASH_SIZES, n.SQUARE_OR_PAST,
        )),
        Tried(Kernel.MEMORY_EFFICIENT, (
            c.EFFICIENT_ALLOWED, c.NO_SCORES, s.GROUPED, s.SAME_WITH_PAST, s.EFFICIENT_SM, s.heads(1024),
            n.ALIGNED_KEYS,
        )),
    ),
)  # fmt: skip

OPERATORS = {
    (each.domain, each.name): each
    for each in (MULTI_HEAD, ATTENTION, GROUP_QUERY, PACKED_MULTI_HEAD, PACKED, PAGED, STANDARD)
}

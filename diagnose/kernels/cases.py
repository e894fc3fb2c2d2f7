"""What the choice of a kernel depends on, read from one node."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mask(StrEnum):
    """The forms of a mask that is an input of its own, by what CUDA kernels tell apart. `OPEN`: one axis of a length
    that the file does not tell, lengths or offsets."""

    NONE = "no mask"
    LENGTHS = "lengths [batch]"
    ENDS = "ends and starts [2 · batch]"
    OFFSETS = "lengths and offsets [3 · batch + 2]"
    OPEN = "a mask of one axis"
    KEYS = "a mask [batch, keys]"
    SCORES = "a mask [batch, queries, keys]"
    FOUR = "a mask of four axes"


class Layout(StrEnum):
    """How queries, keys and values come."""

    SEPARATE = "separate"
    PACKED = "packed queries, keys and values"
    PACKED_KV = "packed keys and values"
    BY_HEADS = "keys and values by heads"


@dataclass(frozen=True)
class Case:
    """One attention. Sizes are None where they are unknown or change from run to run: `size` of a head of queries and
    keys, `value_size` of values, `queries`, and `keys` with those of a cache; `square`: whether there are as many keys
    as queries, None where it is not known. `element`: fp16, bf16, fp32 or empty.

    `aligned`: whether keys that change from run to run are a multiple of 4 in every one.

    `bias`: added to the scores, in ai.onnx the mask. `lengths`: ai.onnx's `nonpad_kv_seqlen`. `steps`: a cache bound in
    place for decoding (`past_sequence_length` or `cache_indirection`). `projected`: biases of the projections.
    `scores`: the scores are an output. `sink`: a head_sink; `smooth`: a smooth softmax without one.
    """

    operator: str
    element: str
    heads: int = 0
    key_heads: int = 0
    size: int | None = None
    value_size: int | None = None
    queries: int | None = None
    keys: int | None = None
    square: bool | None = None
    aligned: bool = False
    mask: Mask = Mask.NONE
    layout: Layout = Layout.SEPARATE
    bias: bool = False
    projected: bool = False
    causal: bool = False
    lengths: bool = False
    past: bool = False
    present: bool = False
    steps: bool = False
    scores: bool = False
    window: bool = False
    softcap: bool = False
    sink: bool = False
    smooth: bool = False
    quantized: bool = False

    @property
    def bytes(self) -> int:
        """Of one element, 4 where it is not known."""
        return 2 if self.element in ("fp16", "bf16") else 4

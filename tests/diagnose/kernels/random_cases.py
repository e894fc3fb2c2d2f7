"""Cases by chance, each of a form that its operator takes, but for a few that it refuses."""

from __future__ import annotations

import random
from typing import Any

from onnxfix.diagnose.kernels.cases import Case, Layout, Mask
from onnxfix.diagnose.kernels.choice import ARCHITECTURES

SIZES = (8, 16, 32, 40, 60, 64, 64, 64, 80, 96, 128, 160, 256, 264, 512)
ROWS = (1, 8, 16, 64, 100, 128, 250, 256, 384, 385, 512, 513)
CROSS = (64, 77, 128, 129, 130, 256, 512)


class RandomCases:
    """`case` and `sm` of the next one; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._kinds = (
            self._multi_head, self._multi_head, self._attention, self._group_query, self._packed_multi_head,
            self._packed, self._standard,
        )  # fmt: skip

    def next(self) -> tuple[Case, int]:
        choice = self._random.choice
        size, rows = choice(SIZES), choice(ROWS)
        fields: dict[str, Any] = {
            "element": choice(("fp16", "fp16", "bf16", "fp32")),
            "heads": 4,
            "key_heads": 4,
            "size": size,
            "value_size": size if self._often(0.8) else choice((32, 64, 128)),
            "queries": rows,
            "keys": rows,
        }
        operator = choice(self._kinds)(fields)
        fields.setdefault("square", fields["queries"] == fields["keys"])
        return Case(operator, **fields), choice(ARCHITECTURES)

    def _often(self, share: float) -> bool:
        return self._random.random() < share

    def _multi_head(self, fields: dict[str, Any]) -> str:
        choice = self._random.choice
        layout = choice((*[Layout.SEPARATE] * 4, Layout.PACKED, Layout.BY_HEADS))
        fields |= {"layout": layout, "bias": self._often(0.3), "causal": self._often(0.3), "scores": self._often(0.1)}
        fields["mask"] = choice((*[Mask.NONE] * 4, Mask.LENGTHS, Mask.OFFSETS, Mask.KEYS, Mask.SCORES))
        if layout is not Layout.PACKED and self._often(0.4):
            fields["keys"] = choice(CROSS)
        if layout is not Layout.SEPARATE:
            fields["value_size"] = fields["size"]
        elif self._often(0.2):
            fields |= {"past": True, "present": True, "keys": fields["queries"] + 8, "value_size": fields["size"]}
        elif self._often(0.1):
            fields["present"] = True
        return "com.microsoft.MultiHeadAttention"

    def _attention(self, fields: dict[str, Any]) -> str:
        masks = (*[Mask.NONE] * 4, Mask.LENGTHS, Mask.OFFSETS, Mask.ENDS, Mask.KEYS, Mask.SCORES)
        fields |= {"layout": Layout.PACKED, "mask": self._random.choice(masks), "causal": self._often(0.25)}
        if self._often(0.15):
            fields |= {"past": True, "present": True, "value_size": fields["size"], "keys": fields["queries"] + 8}
        else:
            fields |= {"bias": self._often(0.3), "present": self._often(0.1)}
        return "com.microsoft.Attention"

    def _group_query(self, fields: dict[str, Any]) -> str:
        fields |= {name: self._often(0.2) for name in ("bias", "window", "softcap", "sink", "smooth")}
        fields |= {"element": self._random.choice(("fp16", "bf16")), "key_heads": self._random.choice((4, 2, 1))}
        fields |= {"value_size": fields["size"], "causal": True, "present": True, "keys": None, "square": None}
        fields["smooth"] = fields["smooth"] and not fields["sink"]
        if self._often(0.3) and not fields["window"]:
            fields["causal"] = False
        if self._often(0.3):
            fields |= {"past": True, "queries": 1, "quantized": self._often(0.3)}
        return "com.microsoft.GroupQueryAttention"

    def _packed_multi_head(self, fields: dict[str, Any]) -> str:
        fields |= {"element": self._random.choice(("fp16", "fp32")), "bias": self._often(0.3)}
        fields["layout"] = self._random.choice((Layout.SEPARATE, Layout.PACKED))
        if fields["layout"] is Layout.PACKED:
            fields["value_size"] = fields["size"]
        return "com.microsoft.PackedMultiHeadAttention"

    def _packed(self, fields: dict[str, Any]) -> str:
        fields |= {"element": self._random.choice(("fp16", "fp32")), "bias": self._often(0.3)}
        fields["layout"] = Layout.PACKED
        return "com.microsoft.PackedAttention"

    def _standard(self, fields: dict[str, Any]) -> str:
        fields |= {"bias": self._often(0.4), "causal": self._often(0.3), "scores": self._often(0.1)}
        fields["key_heads"] = self._random.choice((4, 4, 2))
        if self._often(0.4):
            fields["keys"] = self._random.choice(CROSS)
        if self._often(0.25):
            fields |= {"past": True, "present": True, "keys": fields["queries"] + 8}
        elif self._often(0.3):
            fields["lengths"] = True
        return "ai.onnx.Attention"

"""Conditions on what a session allows and on what an attention is given and gives out.

Of these, `sizes` and `lengths`, each stands once; `operators` says which hold for which kernel of which operator.
"""

from __future__ import annotations

from .cases import Case, Layout, Mask
from .verdicts import Against, Condition, Verdict, When, allowed, no

# attention_kernel_options.cc
FLASH_ALLOWED = allowed("flash is not disabled", "is disabled", lambda s: s.flash)
EFFICIENT_ALLOWED = allowed("memory-efficient attention is not disabled", "is disabled", lambda s: s.efficient)
TRT_ALLOWED = allowed("TensorRT's kernels are not disabled", "is disabled", lambda s: s.trt)
CROSS_ALLOWED = allowed("TensorRT's cross attention is not disabled", "is disabled", lambda s: s.trt_cross)
XQA_ALLOWED = allowed("XQA is not disabled", "is disabled", lambda s: s.xqa)

NO_BIAS = no("no attention_bias", "has an attention_bias", lambda c: c.bias)
NO_ADDED_MASK = no("no attn_mask", "has an attn_mask", lambda c: c.bias)
NO_MASK = Condition("no mask", lambda asked: _masked(asked.case, Mask.NONE))
LENGTHS_OR_NO_MASK = Condition(
    "no mask, or one of lengths [batch]", lambda asked: _masked(asked.case, Mask.NONE, Mask.LENGTHS)
)
OFFSETS_OR_NO_MASK = Condition(
    "no mask, or one of lengths and offsets [3 · batch + 2]",
    lambda asked: _masked(asked.case, Mask.NONE, Mask.OFFSETS),
)
NO_CACHE = no("no past and no present", "has a cache", lambda c: c.past or c.present)
PAST = no("a past", "has no past", lambda c: not c.past)
NO_STEPS = no("no past_sequence_length", "has a past_sequence_length", lambda c: c.steps)
NO_SCORES = no("scores are no output", "gives out its scores", lambda c: c.scores)
BIDIRECTIONAL = no("not causal", "is causal", lambda c: c.causal)
NO_WINDOW = no("no local window", "has a local window", lambda c: c.window)
NO_SOFTCAP = no("no softcap", "has a softcap", lambda c: c.softcap)
NO_SINK = no("no sink and no smooth softmax", "has a sink or a smooth softmax", lambda c: c.sink or c.smooth)
CAUSAL = no("causal", "is not causal", lambda c: not c.causal)
NO_SMOOTH = no(
    "no smooth softmax, but for a sink and a cache that is not quantized",
    "has a smooth softmax",
    lambda c: c.smooth or (c.sink and c.quantized),
)
PLAIN_CACHE = no("a cache that is not quantized", "has a quantized cache", lambda c: c.quantized)
LENGTHS_GIVEN = no("nonpad_kv_seqlen", "has no nonpad_kv_seqlen", lambda c: not c.lengths)
CROSS_LAYOUT = no(
    "queries, keys and values apart, or packed keys and values without bias",
    "has another layout of queries, keys and values",
    lambda c: not (c.layout is Layout.SEPARATE or (c.layout is Layout.PACKED_KV and not c.projected)),
)
SELF_LAYOUT = no(
    "queries, keys and values apart, or all packed",
    "has another layout of queries, keys and values",
    lambda c: c.layout not in (Layout.SEPARATE, Layout.PACKED),
)


def _masked(case: Case, *taken: Mask) -> Verdict:
    """The mask's form (AttentionMaskType); one axis of an open length may hold any of three."""
    if case.mask in taken:
        return None
    forms = [form for form in (Mask.LENGTHS, Mask.OFFSETS) if form in taken]
    if case.mask is Mask.OPEN and forms:
        return When(f"the mask holds {forms[0]}")
    return Against(f"has {case.mask}")

"""Conditions on the numbers of queries and keys, most of which a file leaves open."""

from __future__ import annotations

from .cases import Layout
from .verdicts import Against, Asked, Condition, Verdict, When, told


def _long(asked: Asked, *short: str) -> Verdict:
    """ORT_MIN_SEQ_LEN_EFFICIENT_ATTENTION_FP32, 256: shorter rows are left to the unfused kernel on purpose."""
    case, least = asked.case, asked.settings.long_fp32
    if case.element in short or least <= 0:
        return None
    # of a cache only what is new counts, which is as long as the queries
    lengths = [case.queries] if case.past or case.square else [case.queries, case.keys]
    if any(n is not None and n >= least for n in lengths):
        return None
    if None in lengths:
        return When(f"there are {least} tokens or more")
    return Against(f"has fewer than {least} tokens in {case.element}")


LONG_UNLESS_FP16 = Condition("fp16, or 256 tokens or more (queries or keys)", lambda asked: _long(asked, "fp16"))
LONG_IN_FP32 = Condition("16 bits, or 256 tokens or more", lambda asked: _long(asked, "fp16", "bf16"))


def _aligned_queries(asked: Asked) -> Verdict:
    """multihead_attention.cc and attention.cc: `sequence_length % (4 * sizeof(T))` where there is a bias."""
    case = asked.case
    if not case.bias:
        return None
    step = 4 * case.bytes
    return told(
        case.queries, lambda n: n % step == 0,
        f"has an attention_bias and {{}} queries, no multiple of {step}", f"the queries are a multiple of {step}",
    )  # fmt: skip


def _aligned_keys(asked: Asked) -> Verdict:
    """core/providers/cuda/llm/attention.cc: four elements of a row of the mask, of any type."""
    if not asked.case.bias or (asked.case.keys is None and asked.case.aligned):
        return None
    return told(
        asked.case.keys, lambda n: n % 4 == 0,
        "has an attn_mask and {} keys, no multiple of 4", "the keys are a multiple of 4",
    )  # fmt: skip


ALIGNED_QUERIES = Condition("no attention_bias, or queries a multiple of 8 (16 in fp32)", _aligned_queries)
ALIGNED_KEYS = Condition("no attn_mask, or keys a multiple of 4", _aligned_keys)


def _packed_length(asked: Asked) -> Verdict:
    """kDefaultMinSeqLenForFlashAttentionPackedQKV, 513: TensorRT's kernels were found faster below."""
    case, least = asked.case, asked.settings.packed_flash
    if case.layout is not Layout.PACKED or least <= 1:
        return None
    return told(
        case.queries, lambda n: n >= least,
        f"has {{}} tokens, fewer than {least}", f"there are {least} tokens or more",
    )  # fmt: skip


LONG_IF_PACKED = Condition("queries, keys and values apart, or 513 tokens or more", _packed_length)


def _square(asked: Asked, *, only_causal: bool) -> Verdict:
    case = asked.case
    if only_causal and not case.causal:
        return None
    if case.square is None:
        return When("there are as many keys as queries")
    return None if case.square else Against("has other numbers of queries and of keys")


SELF_ATTENTION = Condition("as many keys as queries", lambda asked: _square(asked, only_causal=False))


def _aligned_to_the_end(asked: Asked) -> Verdict:
    """cuDNN aligns a causal mask to the end, which takes no more queries than keys, and then no bias."""
    case = asked.case
    if not case.causal or case.bias:
        return _square(asked, only_causal=True)
    if case.square or case.past:
        return None
    if case.queries is None or case.keys is None:
        return When("there are no more queries than keys")
    return None if case.queries <= case.keys else Against("is causal and has more queries than keys")


ALIGNED_TO_THE_END = Condition(
    "not causal, or as many keys as queries, or more keys and no attention_bias", _aligned_to_the_end
)


def _square_or_past(asked: Asked) -> Verdict:
    """causal_cross_no_past: flash aligns a causal mask to the end, ONNX to the beginning where there is no past."""
    return None if asked.case.past or asked.case.lengths else _square(asked, only_causal=True)


SQUARE_OR_PAST = Condition(
    "not causal, or with a past or nonpad_kv_seqlen, or as many keys as queries", _square_or_past
)


def _one_token(asked: Asked) -> Verdict:
    return told(asked.case.queries, lambda n: n == 1, "has {} queries, not one", "there is one query")


ONE_TOKEN = Condition("one query", _one_token)
IN_PLACE = Condition("past and present in one buffer", lambda asked: When("past and present are bound to one buffer"))

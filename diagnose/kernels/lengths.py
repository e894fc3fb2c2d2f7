"""Conditions on the numbers of queries and keys, most of which a file leaves open."""

from __future__ import annotations

from .cases import Layout
from .verdicts import Against, Asked, Condition, Verdict, When, told


def _long(asked: Asked, *short: str) -> Verdict:
    """ORT_MIN_SEQ_LEN_EFFICIENT_ATTENTION_FP32, 256: shorter rows are left to the unfused kernel on purpose."""
    case, least = asked.case, asked.settings.long_fp32
    if case.element in short or least <= 0:
        return None
    known = [n for n in (case.queries, case.keys) if n is not None]
    if any(n >= least for n in known):
        return None
    open_ = len(known) < 2 and not (case.square and known)
    if open_:
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
    if not asked.case.bias:
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
SQUARE_IF_CAUSAL = Condition("not causal, or as many keys as queries", lambda asked: _square(asked, only_causal=True))


def _square_or_past(asked: Asked) -> Verdict:
    """causal_cross_no_past: flash aligns a causal mask to the end, ONNX to the beginning where there is no past."""
    return None if asked.case.past else _square(asked, only_causal=True)


SQUARE_OR_PAST = Condition("not causal, or with a past, or as many keys as queries", _square_or_past)


def _one_token(asked: Asked) -> Verdict:
    return told(asked.case.queries, lambda n: n == 1, "has {} queries, not one", "there is one query")


ONE_TOKEN = Condition("one query", _one_token)
IN_PLACE = Condition("past and present in one buffer", lambda asked: When("past and present are bound to one buffer"))

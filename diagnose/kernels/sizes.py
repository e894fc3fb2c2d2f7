"""Conditions on the architecture of the GPU and the sizes and numbers of heads."""

from __future__ import annotations

from .verdicts import Against, Asked, Condition, Verdict, When, told

AUTOMATIC = 90
"""cuDNN is preferred by itself from Hopper on (AllowCudnnFlashAttentionAuto)."""
TRT_SM = (75, 80, 86, 89)
LONGEST_FUSED, LONGEST_CROSS = 384, 128
TRT_LONG = (16, 32, 40, 64, 80, 128, 160, 256)
"""Heads of TensorRT's kernels for 385 tokens and more, `fmha_v2_flash_attention_fp16_*` in the binary of 1.31.1."""
TRT_SHORT = (32, 64)


def _same_sizes(asked: Asked) -> Verdict:
    case = asked.case
    if case.size is None or case.value_size is None or case.size == case.value_size:
        return None
    return Against(f"has heads of {case.size} and values of {case.value_size}")


SAME_SIZES = Condition("heads of values of the same size", _same_sizes)


def newest(least: int) -> Condition:
    """GPUs of an architecture on."""
    return Condition(
        f"sm {least} or newer", lambda asked: None if asked.sm >= least else Against(f"needs sm {least} or newer")
    )


def _cudnn(asked: Asked) -> Verdict:
    """enable_cudnn_flash_attention_, or auto_enable_… from sm 90 on; cudnn_sdpa::is_supported begins at sm 80."""
    asked_for = asked.settings.cudnn
    if asked_for is False:
        return Against("is disabled")
    least = AUTOMATIC if asked_for is None else 80
    return None if asked.sm >= least else Against(f"needs sm {least} or newer")


CUDNN_ALLOWED = Condition("sm 90 or newer, or ORT_ENABLE_CUDNN_FLASH_ATTENTION=1 and sm 80", _cudnn)


def heads(most: int) -> Condition:
    """flash::is_supported, cudnn_sdpa::is_supported and has_memory_efficient_attention: multiples of 8."""

    def verdict(asked: Asked) -> Verdict:
        for known in (asked.case.size, asked.case.value_size):
            found = told(
                known, lambda n: n % 8 == 0 and n <= most,
                f"has heads of {{}}, no multiple of 8 up to {most}", f"the head size is a multiple of 8 up to {most}",
            )  # fmt: skip
            if found is not None:
                return found
        return None

    return Condition(f"head size a multiple of 8, at most {most}", verdict)


def _efficient_sm(asked: Asked) -> Verdict:
    """has_memory_efficient_attention: bf16 from sm 80 on, fp16 from 53, fp32 from 50; 1.31.1 holds no sm before 75."""
    return Against("needs sm 80 or newer in bf16") if asked.case.element == "bf16" and asked.sm < 80 else None


EFFICIENT_SM = Condition("sm 80 or newer in bf16", _efficient_sm)


def _trt(asked: Asked) -> Verdict:
    """FusedMHARunnerFP16v2::IsSupported of mha_runner.cc, and has_flash_attention_kernel."""
    case, sm = asked.case, asked.sm
    if sm not in TRT_SM:
        return Against(f"has no kernel for sm {sm}")
    if case.size is None:
        return When(f"the head size is one of {', '.join(map(str, TRT_LONG))}")
    long, short = asked.settings.trt_flash and case.size in TRT_LONG, case.size in TRT_SHORT
    if not long and not short:
        return Against(f"has no kernel for heads of {case.size}")
    if long and short:
        return None
    least = LONGEST_FUSED + 1
    if long:
        few = f"has {{}} tokens, fewer than {least}"
        return told(case.queries, lambda n: n >= least, few, f"there are {least} tokens or more")
    many = f"has {{}} tokens, more than {LONGEST_FUSED}"
    return told(case.queries, lambda n: n < least, many, f"there are {LONGEST_FUSED} tokens or fewer")


TRT_SIZES = Condition("sm 75 to 89 and head size 32 or 64, or 16, 40, 80, 128, 160 or 256 and 385 tokens or more", _trt)


def _cross(asked: Asked) -> Verdict:
    """has_fused_cross_attention_kernel of cross_attention/fmha_cross_attention.h."""
    if asked.sm not in TRT_SM:
        return Against(f"has no kernel for sm {asked.sm}")
    most = 64 if asked.sm == 75 else 256
    large = f"has heads of {{}}, more than {most}"
    return told(asked.case.size, lambda n: n <= most, large, f"the head size is up to {most}")


def _few_keys(asked: Asked) -> Verdict:
    few = f"there are {LONGEST_CROSS} keys or fewer"
    return told(asked.case.keys, lambda n: n <= LONGEST_CROSS, f"has {{}} keys, more than {LONGEST_CROSS}", few)


CROSS_SIZES = Condition("sm 75 to 89 and head size up to 256 (64 on sm 75)", _cross)
FEW_KEYS = Condition("128 keys or fewer", _few_keys)


def _xqa_sizes(asked: Asked) -> Verdict:
    """group_query_attention.cc; groups of queries for one key, as in the binary's messages."""
    case = asked.case
    groups = (4, 8, 16, 32) if case.quantized else (1, 2, 4, 5, 8, 16, 32)
    group = case.heads // case.key_heads if case.key_heads else 0
    if group not in groups:
        return Against(f"has {group} heads of queries for one of keys")
    return told(case.size, lambda n: n in (64, 128, 256), "has heads of {}", "the head size is 64, 128 or 256")


XQA_SIZES = Condition("head size 64, 128 or 256; 1, 2, 4, 5, 8, 16 or 32 heads of queries for one of keys", _xqa_sizes)


def _grouped(asked: Asked) -> Verdict:
    """MEA repeats the keys of a group (LaunchUngroup) in 16 bits, of values as large as keys."""
    case = asked.case
    if case.heads == case.key_heads:
        return None
    if case.element == "fp32":
        return Against("has fewer heads of keys than of queries, in fp32")
    return _same_sizes(asked)


GROUPED = Condition("as many heads of keys as of queries, or 16 bits", _grouped)


def _same_with_past(asked: Asked) -> Verdict:
    return _same_sizes(asked) if asked.case.past else None


SAME_WITH_PAST = Condition("no past, or heads of values of the same size", _same_with_past)

"""What a session allows: environment variables and the provider option `sdpa_kernel`, as the CUDA provider reads them.

From contrib_ops/cuda/bert/attention_kernel_options.cc and contrib_ops/cpu/bert/attention_common.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

# Bits of `sdpa_kernel`; 64 and 32 are TensorRT's cross attention and its kernels for 385 tokens and more.
FLASH, EFFICIENT, TRT, CUDNN, MATH, TRT_FLASH, TRT_CROSS = (1 << bit for bit in range(7))
PACKED_FLASH, LONG_FP32 = 513, 256
"""Fewest tokens for flash on packed queries, keys and values, and for memory-efficient attention in fp32."""


@dataclass(frozen=True)
class Settings:
    """`cudnn`: True where it was asked for, which holds from sm 80 on, False where it was refused or no cuDNN 9.3 can
    be loaded, None by default, which takes it from sm 90 on."""

    flash: bool = True
    efficient: bool = True
    trt: bool = True
    trt_flash: bool = True
    trt_cross: bool = True
    xqa: bool = True
    cudnn: bool | None = None
    packed_flash: int = PACKED_FLASH
    long_fp32: int = LONG_FP32

    @staticmethod
    def of(environment: Mapping[str, str], sdpa_kernel: int = 0) -> Settings:
        """From variables by name, and the bits of the provider option, which replace all variables but the lengths."""

        def on(name: str, default: bool = False) -> bool:
            return environment.get(name, str(int(default))).strip() in ("1", "true", "True")

        def tokens(name: str, default: int) -> int:
            return int(environment.get(name) or (0 if sdpa_kernel > 0 else default))

        asked = environment.get("ORT_ENABLE_CUDNN_FLASH_ATTENTION")
        lengths = Settings(
            xqa=on("ORT_ENABLE_XQA", default=True),
            packed_flash=tokens("ORT_MIN_SEQ_LEN_FLASH_ATTENTION_PACKED_QKV", PACKED_FLASH),
            long_fp32=tokens("ORT_MIN_SEQ_LEN_EFFICIENT_ATTENTION_FP32", LONG_FP32),
        )
        if sdpa_kernel > 0:
            flags = (FLASH, EFFICIENT, TRT, TRT_FLASH, TRT_CROSS, CUDNN)
            names = ("flash", "efficient", "trt", "trt_flash", "trt_cross", "cudnn")
            return replace(lengths, **{name: bool(sdpa_kernel & bit) for name, bit in zip(names, flags, strict=True)})
        return replace(
            lengths,
            flash=not on("ORT_DISABLE_FLASH_ATTENTION"),
            efficient=not on("ORT_DISABLE_MEMORY_EFFICIENT_ATTENTION"),
            trt=not on("ORT_DISABLE_FUSED_ATTENTION"),
            trt_flash=not on("ORT_DISABLE_TRT_FLASH_ATTENTION"),
            trt_cross=not on("ORT_DISABLE_FUSED_CROSS_ATTENTION"),
            cudnn=None if asked is None else on("ORT_ENABLE_CUDNN_FLASH_ATTENTION"),
        )

"""Chooser: which kernel the installed onnxruntime-gpu takes for a case, with stub CUDA libraries in place of a GPU.

The provider is told of a GPU of any architecture, is given the node, chooses, and prints what it chose
(ORT_ENABLE_ATTENTION_KERNEL_DEBUG_INFO). That is real; what the kernel computes then is not.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import stub_libraries

from onnxfix.diagnose.kernels.cases import Case
from onnxfix.diagnose.kernels.settings import LONG_FP32, PACKED_FLASH, Settings
from onnxfix.nouns.runtime.attention_kernels import Kernel

WORKER = Path(__file__).with_name("kernel_worker.py")
CUDNN = "92000"
"""What the stub says of itself: 9.20."""
PRINTED = {
    "XQA": Kernel.XQA,
    "CUDNN_FLASH_ATTENTION": Kernel.CUDNN,
    "FLASH_ATTENTION": Kernel.FLASH,
    "TRT_CROSS_ATTENTION": Kernel.TRT_CROSS,
    "TRT_FUSED_ATTENTION": Kernel.TRT,
    "TRT_FLASH_ATTENTION": Kernel.TRT,
    "EFFICIENT_ATTENTION": Kernel.MEMORY_EFFICIENT,
    "MATH": Kernel.UNFUSED,
}
VARIABLES = {
    "flash": "ORT_DISABLE_FLASH_ATTENTION",
    "efficient": "ORT_DISABLE_MEMORY_EFFICIENT_ATTENTION",
    "trt": "ORT_DISABLE_FUSED_ATTENTION",
    "trt_flash": "ORT_DISABLE_TRT_FLASH_ATTENTION",
    "trt_cross": "ORT_DISABLE_FUSED_CROSS_ATTENTION",
}


class RefusedError(Exception):
    """The operator does not take the case at all, before any choice."""


def variables(settings: Settings) -> dict[str, str]:
    """What brings settings about in the environment."""
    found = {name: "1" for field, name in VARIABLES.items() if not getattr(settings, field)}
    if not settings.xqa:
        found["ORT_ENABLE_XQA"] = "0"
    if settings.cudnn is not None:
        found["ORT_ENABLE_CUDNN_FLASH_ATTENTION"] = str(int(settings.cudnn))
    if settings.packed_flash != PACKED_FLASH:
        found["ORT_MIN_SEQ_LEN_FLASH_ATTENTION_PACKED_QKV"] = str(settings.packed_flash)
    if settings.long_fp32 != LONG_FP32:
        found["ORT_MIN_SEQ_LEN_EFFICIENT_ATTENTION_FP32"] = str(settings.long_fp32)
    return found


class Chooser:
    """Runs nodes in a child process. Raises StubError where there is no cc or no CUDA provider."""

    def __init__(self) -> None:
        stubs = str(stub_libraries.build(running=True))
        path = os.pathsep.join(filter(None, [stubs, os.environ.get("LD_LIBRARY_PATH")]))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
        more = {"LD_LIBRARY_PATH": path, "CUDA_VISIBLE_DEVICES": "", "ONNXFIX_STUB_CUDNN": CUDNN}
        self._environment = kept | more | {"ORT_ENABLE_ATTENTION_KERNEL_DEBUG_INFO": "1"}
        self._child: subprocess.Popen[str] | None = None

    def kernel(self, case: Case, sm: int, settings: Settings, sdpa_kernel: int = 0) -> Kernel:
        """What is taken, NONE where the run ends for want of a kernel. Raises RefusedError for what is no case."""
        error, printed = self._asked(
            {"case": asdict(case), "sm": sm, "sdpa_kernel": sdpa_kernel, "environment": variables(settings)}
        )
        grouped = case.operator.endswith("GroupQueryAttention")
        if grouped and ("MAX_HEAD_SIZE" in error or "head_size must be a multiple of 8" in error):
            return Kernel.NONE
        if grouped and error and printed in (None, "MATH"):  # MATH is what is printed of no kernel, too
            return Kernel.NONE
        if printed is None:
            raise RefusedError(error)
        return PRINTED[printed]

    def close(self) -> None:
        if self._child is not None:
            self._child.communicate()
            self._child = None

    def _asked(self, request: dict[str, object]) -> tuple[str, str | None]:
        """What went wrong behind the choice, and what was printed of it."""
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(request) + "\n")
        child.stdin.flush()
        printed = None
        for line in child.stdout:
            if line.startswith('{"answer"'):
                return json.loads(line)["answer"], printed
            found = re.search(r"SdpaKernel=(\w+)", line)
            printed = found[1] if found else printed
        self._child = None
        raise RuntimeError(f"the runtime ended with exit status {child.wait()} on {request}")

    def _running(self) -> subprocess.Popen[str]:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True, env=self._environment,
            )  # fmt: skip
        return self._child

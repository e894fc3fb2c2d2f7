"""The machine and the versions behind a bench, so that its figures can be read later."""

from __future__ import annotations

import contextlib
import os
import platform
from importlib import metadata
from pathlib import Path

from onnxfix.nouns.runtime.onnx_runtime import runtime
from onnxfix.nouns.runtime.provider import named

from .engine import all_engines


def machine(provider: str) -> dict[str, str]:
    """Name → value: processor, cores this process may use, memory, GPU on cuda, Python and installed packages."""
    found = {"cpu": _processor(), "cores": str(cores()), "memory": _memory(), "system": platform.platform()}
    if named(provider).device:
        found["gpu"] = _gpu()
    found["python"] = platform.python_version()
    runtimes = [package for engine in all_engines() for package in engine.packages]
    for package in ("onnxfix", *runtimes, "onnx", "transformers", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return {name: value for name, value in found.items() if value}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """That this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"
    except (ValueError, OSError):
        return ""


def _gpu() -> str:
    with contextlib.suppress(ImportError, RuntimeError, AssertionError):
        import torch

        return str(torch.cuda.get_device_name())
    return ""


def has_cuda() -> bool:
    """A CUDA device this process can reach and an ONNX Runtime built for it; imports the runtime only with a device.

    onnxruntime-gpu lists its CUDA provider on machines without any GPU, so the driver's device file decides.
    """
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")):
        return False
    return named("cuda").runtime_name in runtime().get_available_providers()

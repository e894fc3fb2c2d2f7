"""Energy that the GPU has taken, as NVML counts it."""

from __future__ import annotations

import os


def joules() -> float | None:
    """Joules since the driver was loaded; None without NVML, its Python binding (nvidia-ml-py) or a counter.

    Source: nvmlDeviceGetTotalEnergyConsumption, millijoules, Volta and later. The device is the first one visible.
    """
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        name = int(visible) if visible.isdigit() else visible
        by = pynvml.nvmlDeviceGetHandleByIndex if isinstance(name, int) else pynvml.nvmlDeviceGetHandleByUUID
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(by(name))) / 1000
    except pynvml.NVMLError:
        return None

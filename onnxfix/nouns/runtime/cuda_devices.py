"""How many CUDA devices the driver sees: asked of the driver itself, without torch or a CUDA toolkit."""

from __future__ import annotations

import ctypes
import sys

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def cuda_devices(driver: str = DRIVER) -> int:
    """The number of devices; 0 without a driver library, or when the driver does not start."""
    try:
        library = ctypes.CDLL(driver)
        count = ctypes.c_int(0)
        if library.cuInit(0) != 0 or library.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except (OSError, AttributeError):  # no such library, or one without these functions
        return 0
    return count.value

"""ONNX Runtime as every part of this asks for it: one that says nothing to anybody of what is run.

Since 1.29 it collects telemetry on Linux, too: it keeps a device id and writes "Failed to persist telemetry device ID"
on standard error where it cannot. `ORT_DISABLE_TELEMETRY` is read once, when it is imported (microsoft/onnxruntime
#27379): onnxfix sets it when it is imported itself, and children inherit it. What Windows collects is turned off by a
call.
"""

from __future__ import annotations

import functools
from typing import Any

from onnxfix.nouns.errors import OnnxfixError

from .extras import RUNTIME


def runtime() -> Any:
    """The module. Raises OnnxfixError where it is not installed, or cannot be loaded."""
    try:
        return _silent()
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise OnnxfixError(f"ONNX Runtime cannot be loaded: {error}", f"pip install {error.name}") from error
        raise OnnxfixError("ONNX Runtime is not installed", RUNTIME) from error
    except ImportError as error:
        raise OnnxfixError(f"ONNX Runtime cannot be loaded: {error}", "install it again") from error


@functools.cache
def _silent() -> Any:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime

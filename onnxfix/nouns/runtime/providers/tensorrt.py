"""NVIDIA's compiler: it plans while it builds its engines, so what it takes is forecast from its parser's list."""

from __future__ import annotations

from onnxfix.nouns.errors import arg
from onnxfix.nouns.runtime.provider import Provider

from .cuda import no_dynamic


def _unmeasurable() -> tuple[str, str]:
    return "TensorRT can only be forecast: it plans while it builds its engines", f"use {arg('engine', 'forecast')}"


PROVIDER = Provider(
    name="tensorrt",
    runtime_name="TensorrtExecutionProvider",
    label="TensorRT",
    aliases=("trt",),
    colours=("#12946b", "#2fbf92"),
    behind=("cuda", "cpu"),
    device="GPU",  # its nodes share CUDA's memory, and nothing is copied between the two
    forecaster="onnxfix.diagnose.placement.providers.tensorrt:TensorrtForecaster",
    unmeasurable=_unmeasurable,
    refuses={"dynamic": no_dynamic("tensorrt")},
    symmetric=True,
)

"""Tensorrt: an ONNX file in ONNX Runtime's TensorRT provider, whatever the bench runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from onnxfix.eval.run.engine import SweepRow

from .onnx_runtime import OnnxRuntime


@dataclass(frozen=True)
class Tensorrt(OnnxRuntime):
    packages: ClassVar[tuple[str, ...]] = ()
    own_provider: ClassVar[str | None] = "tensorrt"

    @classmethod
    def rows(cls) -> tuple[SweepRow, ...]:
        made = {"precision": "fp16", "target": "tensorrt"}
        return (SweepRow("tensorrt fp16 (dynamo)", cls(), "dynamo", made),)

    def profiled(self, provider: str) -> dict[str, Any] | None:
        return None  # its profile shows whole subgraphs as one node

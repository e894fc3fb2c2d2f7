"""OpenvinoRunner: an ONNX file in OpenVINO on the CPU, in fp32 or bf16: what the bench compares with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxfix.nouns.errors import one_line

from .runners import Array, Dtype, LoadFailure, RunFailure

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


class OpenvinoRunner:
    """OpenVINO's CPU plugin, told to compute in `dtype` and to answer one request as soon as it can.

    `threads` 0 leaves the number of CPU threads to OpenVINO. bf16 is computed so only where the CPU has it. Raises
    LoadFailure where OpenVINO is absent, refuses the file, or is asked for another dtype.
    """

    def __init__(self, model: Path, *, dtype: Dtype = "fp32", threads: int = 0, name: str = "") -> None:
        self.name = name or f"OpenVINO {dtype}"
        if dtype not in PRECISIONS:
            raise LoadFailure(f"OpenVINO has no precision {dtype} for floats", f"take {' or '.join(PRECISIONS)}")
        try:
            import openvino
        except ImportError:
            raise LoadFailure("openvino is not installed", "pip install 'onnxfix[openvino]'") from None
        hints = {"INFERENCE_PRECISION_HINT": PRECISIONS[dtype], "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            hints["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            self._compiled: Any = openvino.Core().compile_model(str(model), "CPU", hints)
        except RuntimeError as error:
            raise LoadFailure(f"OpenVINO cannot load {model.name}: {one_line(error)}") from error
        self.input_names = frozenset(port.any_name for port in self._compiled.inputs)
        self.output_names = [port.any_name for port in self._compiled.outputs]

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Output name → array. Raises RunFailure."""
        try:
            result = self._compiled(dict(feed))
            return {name: np.array(result[name]) for name in self.output_names}
        except (RuntimeError, ValueError, TypeError) as error:
            raise RunFailure(f"{self.name} fails in OpenVINO: {one_line(error)}") from error

    def prepared(self, feed: Mapping[str, Array]) -> Callable[[], object]:
        return lambda: self.run(feed)

    def close(self) -> None:
        self._compiled = None

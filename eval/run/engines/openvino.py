"""Openvino: an ONNX file in OpenVINO on the CPU, in fp32 or bf16: what the bench compares with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from onnxfix.eval.run.engine import Engine, Loaded, Source, SweepRow
from onnxfix.eval.run.runners import Array, LoadFailure, RunFailure
from onnxfix.nouns.errors import one_line

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


@dataclass(frozen=True)
class Openvino(Engine):
    dtype: str = "fp32"

    kind: ClassVar[str] = "openvino"
    packages: ClassVar[tuple[str, ...]] = ("openvino",)
    modules: ClassVar[tuple[str, ...]] = ("openvino",)
    series: ClassVar[int | None] = 2
    on_provider: ClassVar[bool] = False

    @classmethod
    def rows(cls) -> tuple[SweepRow, ...]:
        return (
            SweepRow("openvino fp32 (legacy)", cls(), "legacy"),
            SweepRow("openvino bf16 (legacy)", cls("bf16"), "legacy"),
            SweepRow("openvino int8 (legacy, static)", cls(), "legacy", {"int8": "static"}, calibrated=True),
            SweepRow("openvino fp32 fastest (dynamo)", cls(), "dynamo", {"target": "openvino"}, verb="optimize"),
            SweepRow(
                "openvino int8 static, fastest (dynamo)",
                cls(),
                "dynamo",
                {"int8": "static", "target": "openvino"},
                verb="optimize",
                calibrated=True,
            ),
        )

    def load(self, source: Source, *, provider: str, threads: int, name: str) -> Loaded:
        assert isinstance(source, Path)
        runner = OpenvinoRunner(source, dtype=self.dtype, threads=threads, name=name)
        return Loaded(runner, lambda arrays: {name: a for name, a in arrays.items() if name in runner.input_names})


class OpenvinoRunner:
    """OpenVINO's CPU plugin, told to compute in `dtype` and to answer one request as soon as it can.

    `threads` 0 leaves the number of CPU threads to OpenVINO. bf16 is computed so only where the CPU has it. Raises
    LoadFailure where OpenVINO is absent, refuses the file, or is asked for another dtype.
    """

    def __init__(self, model: Path, *, dtype: str = "fp32", threads: int = 0, name: str = "") -> None:
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
        core = openvino.Core()
        try:
            read = core.read_model(str(model))
            self._compiled: Any = core.compile_model(read, "CPU", hints)
        except RuntimeError as error:
            raise LoadFailure(f"OpenVINO cannot load {model.name}: {one_line(error)}") from error
        self.input_names = frozenset(port.any_name for port in read.inputs)
        self.output_names = [_name(port) for port in read.outputs]

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Output name → array. Raises RunFailure."""
        try:
            result = self._compiled(dict(feed))
            return {name: np.array(result[place]) for place, name in enumerate(self.output_names)}
        except (RuntimeError, ValueError, TypeError) as error:
            raise RunFailure(f"{self.name} fails in OpenVINO: {one_line(error)}") from error

    def prepared(self, feed: Mapping[str, Array]) -> Callable[[], object]:
        return lambda: self.run(feed)

    def close(self) -> None:
        self._compiled = None


def _name(port: Any) -> str:
    """An output by its name in the file. Where a product with ones is left out, what is left has the names of
    both, and the graph's own is told from that of the Result (2026.4)."""
    own = str(port.node.get_friendly_name()).removesuffix("/sink_port_0")
    return own if own in port.get_names() else str(port.any_name)

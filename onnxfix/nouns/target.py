"""Target: the execution provider a model is meant for, and what it can run according to the kernel tables."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from onnxfix.nouns.runtime.cuda_devices import cuda_devices
from onnxfix.nouns.runtime.kernels import KernelTable

from .errors import OnnxfixError, arg

Provider = Literal["cuda", "cpu", "tensorrt", "openvino"]
Engine = Literal["auto", "forecast", "measured", "unknown"]
Support = Literal["yes", "no", "unknown"]

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"

_PROVIDERS: dict[Provider, tuple[str, ...]] = {
    "cuda": (CUDA, CPU),
    "cpu": (CPU,),
    "tensorrt": (TENSORRT, CUDA, CPU),
    "openvino": (OPENVINO, CPU),
}


@dataclass(frozen=True)
class Target:
    """`engine` is what tells about placement: `forecast` from kernel tables, `measured` by the real runtime, `auto`
    where there is something to measure but a forecast will do if that fails, `unknown` without either."""

    provider: Provider
    table: KernelTable
    engine: Engine = "forecast"

    @staticmethod
    def resolve(provider: str, engine: str = "forecast") -> Target:
        """The target of a provider's short name with the installed ONNX Runtime's kernel table.

        `engine`: `auto` measures where it can (a CUDA device; the openvino package), `forecast` never does, `measured`
        raises OnnxfixError where it is impossible.
        """
        found = next((name for name in get_args(Provider) if name == provider), None)
        if found is None:
            raise OnnxfixError(f"unknown target '{provider}'", f"name one of {', '.join(_PROVIDERS)}")
        return Target(found, KernelTable.load(), _engine(found, engine))

    def ep_names(self) -> list[str]:
        """ONNX Runtime's provider names in order of preference."""
        return list(_PROVIDERS[self.provider])

    @property
    def table_provider(self) -> str | None:
        """The provider whose kernels stand for this target. What TensorRT refuses when it builds goes to CUDA."""
        return {"cuda": CUDA, "tensorrt": CUDA, "cpu": CPU}.get(self.provider)

    def supports(
        self, op_type: str, domain: str, opset: int, inputs: Sequence[str | None], outputs: Sequence[str | None]
    ) -> Support:
        """Whether the first provider has a kernel for a node of these types (None: argument omitted).

        `unknown` for custom operators and for providers without tables.
        """
        schema = self.table.schema(op_type, domain, opset)
        if self.table_provider is None or schema is None:
            return "unknown"
        return "yes" if self.table.find(self.table_provider, schema, inputs, outputs) else "no"


def _engine(provider: Provider, asked: str) -> Engine:
    if asked not in get_args(Engine):
        raise OnnxfixError(f"unknown engine '{asked}'", "name one of auto, forecast, measured")
    missing = _missing(provider)
    if asked == "measured" and missing:
        raise OnnxfixError(*missing)
    if asked == "measured":
        return "measured"
    if asked == "auto" and not missing and provider != "cpu":  # for the CPU the forecast is faster and as good
        return "auto"
    return "unknown" if provider == "openvino" else "forecast"


def _missing(provider: Provider) -> tuple[str, str] | None:
    """What prevents measuring a target here, and what to do about it; None when nothing does."""
    if provider == "cpu":
        return None
    if provider == "openvino":
        if importlib.util.find_spec("openvino") is not None:
            return None
        return "OpenVINO is not installed", "run: pip install 'onnxfix[openvino]'"
    if provider == "tensorrt":
        return "TensorRT can only be forecast: it plans while it builds its engines", f"use {arg('engine', 'forecast')}"
    if cuda_devices() == 0:
        return "there is no CUDA device here to measure on", f"use {arg('engine', 'forecast')}"
    return None

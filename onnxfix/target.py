"""Target: the execution provider a model is meant for, and what it can run according to the kernel tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from .errors import OnnxfixError
from .kernels import KernelTable

Provider = Literal["cuda", "cpu", "tensorrt", "openvino"]
Support = Literal["yes", "no", "unknown"]

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"

_PROVIDERS: dict[Provider, tuple[str, ...]] = {
    "cuda": (CUDA, CPU),
    "cpu": (CPU,),
    "tensorrt": ("TensorrtExecutionProvider", CUDA, CPU),
    "openvino": ("OpenVINOExecutionProvider", CPU),
}


@dataclass(frozen=True)
class Target:
    """`engine` is what tells about placement: `forecast` from kernel tables, `unknown` where no table exists."""

    provider: Provider
    table: KernelTable
    engine: str = "forecast"

    @staticmethod
    def resolve(provider: str, engine: str = "auto") -> Target:
        """The target of a provider's short name with the installed ONNX Runtime's kernel table."""
        found = next((name for name in get_args(Provider) if name == provider), None)
        if found is None:
            raise OnnxfixError(f"unknown target '{provider}'", f"name one of {', '.join(_PROVIDERS)}")
        if engine == "measured":
            raise OnnxfixError("--engine measured is not available yet", "use --engine forecast")
        if engine == "auto":
            engine = "unknown" if provider == "openvino" else "forecast"
        return Target(found, KernelTable.load(), engine)

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

"""Target: the execution provider a model is meant for, and what it can run according to the kernel tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from onnxfix.nouns.runtime.kernels import KernelTable
from onnxfix.nouns.runtime.provider import Provider, named

from .errors import OnnxfixError

Engine = Literal["auto", "forecast", "measured", "unknown"]
Support = Literal["yes", "no", "unknown"]


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
        found = named(provider)
        return Target(found, KernelTable.load(), _engine(found, engine))

    def ep_names(self) -> list[str]:
        """ONNX Runtime's provider names in order of preference."""
        return [each.runtime_name for each in self.provider.chain]

    @property
    def tabled(self) -> Provider | None:
        """The provider whose kernels stand for this target: what TensorRT refuses when it builds goes to CUDA. None
        where there is nothing to forecast from."""
        return None if self.provider.asks else next((each for each in self.provider.chain if each.tabled), None)

    def supports(
        self, op_type: str, domain: str, opset: int, inputs: Sequence[str | None], outputs: Sequence[str | None]
    ) -> Support:
        """Whether the first provider has a kernel for a node of these types (None: argument omitted).

        `unknown` for custom operators and for providers without tables.
        """
        schema, tabled = self.table.schema(op_type, domain, opset), self.tabled
        if tabled is None or schema is None:
            return "unknown"
        return "yes" if self.table.find(tabled.runtime_name, schema, inputs, outputs) else "no"


def _engine(provider: Provider, asked: str) -> Engine:
    if asked not in get_args(Engine):
        raise OnnxfixError(f"unknown engine '{asked}'", "name one of auto, forecast, measured")
    missing = provider.unmeasurable()
    if asked == "measured" and missing:
        raise OnnxfixError(*missing)
    if asked == "measured":
        return "measured"
    if asked == "auto" and not missing and not provider.is_host:  # for the CPU the forecast is faster and as good
        return "auto"
    return "unknown" if provider.asks else "forecast"

"""Torchao: a torch module with int8 linear layers, as torchao's documentation says: what the bench compares with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from onnxfix.eval.run.engine import NAMED, SEED, SweepRow
from onnxfix.eval.run.runners import LoadFailure
from onnxfix.nouns.errors import arg, one_line

from .pytorch import PyTorch

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Torchao(PyTorch):
    """The rest stays in fp32. `int8-wo` is of weights only, `int8-dyn` of activations at run time as well."""

    dtype: str = "int8-wo"

    packages: ClassVar[tuple[str, ...]] = ("torchao",)
    modules: ClassVar[tuple[str, ...]] = (*PyTorch.modules, "torchao.quantization")
    option: ClassVar[str] = "torchao"

    @classmethod
    def rows(cls) -> tuple[SweepRow, ...]:
        return (
            SweepRow("torch int8-wo (torchao)", cls("int8-wo"), sweeps=(NAMED, SEED)),
            SweepRow("torch int8-dyn (torchao)", cls("int8-dyn"), sweeps=(NAMED,)),
        )

    def change(self, module: torch.nn.Module) -> None:
        quantize(module, "weights" if self.dtype == "int8-wo" else "dynamic")


def quantize(module: torch.nn.Module, how: Literal["weights", "dynamic"]) -> None:
    """Quantize the weights of all `torch.nn.Linear` to int8 per channel, in place; nothing else is touched.

    `weights` computes in the module's own dtype, `dynamic` also rounds activations to int8, per token and at run time.
    The module runs eagerly, as every torch row of the bench: torchao's own figures are those of `torch.compile`.
    Raises LoadFailure where torchao is absent, and with its message where it fails.

    Source: torchao.quantization, `quantize_` with Int8WeightOnlyConfig and Int8DynamicActivationInt8WeightConfig.
    """
    try:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_
    except ImportError:
        raise LoadFailure("torchao is not installed", "pip install 'onnxfix[torchao]'") from None
    config = Int8WeightOnlyConfig() if how == "weights" else Int8DynamicActivationInt8WeightConfig()
    try:
        quantize_(module, config)
    except Exception as error:  # it raises bare exceptions and assertion errors
        raise LoadFailure(
            f"torchao fails: {one_line(error)}", f"leave its rows out with {arg('torchao', False)}"
        ) from None

"""TorchModel: a module ready to export, with example inputs, dynamic axes and output names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onnxfix.nouns.errors import OnnxfixError

if TYPE_CHECKING:
    import torch

Axes = Mapping[str, Mapping[int, str]]


@dataclass(frozen=True)
class TorchModel:
    """`module` takes the example's names as keywords and returns a tensor, a tuple or a mapping; eval mode, fp32, CPU.

    `dynamic` maps input → axis → dimension name, `longest` is the largest sequence length or None.
    """

    module: torch.nn.Module
    example: dict[str, torch.Tensor]
    dynamic: Axes
    output_names: list[str]
    labels: dict[str, list[str]] = field(default_factory=dict)
    longest: int | None = None
    attn: str = ""
    example_is_given: bool = False
    """The example came from the user, so it is worth verifying on."""
    shapes: tuple[Mapping[str, tuple[int, ...]], ...] = ()
    """Of inputs to verify on, where made-up ones would be of sizes that it does not take."""
    notes: tuple[str, ...] = ()
    """What whoever exports it must know: outputs that are left out."""

    @property
    def input_names(self) -> list[str]:
        return list(self.example)

    def flat(self) -> torch.nn.Module:
        """The module as exporters want it: positional tensors in, a tuple of tensors in `output_names` order out."""
        import torch

        names, output_names = self.input_names, self.output_names

        class Flat(torch.nn.Module):
            def __init__(self, model: torch.nn.Module) -> None:
                super().__init__()
                self.model = model

            def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
                outputs = named_tensors(self.model(**dict(zip(names, inputs, strict=True))), output_names)
                return tuple(outputs[name] for name in output_names)

        return Flat(self.module).eval()


def named_tensors(output: Any, names: list[str] | None = None) -> dict[str, torch.Tensor]:
    """Tensors of a module's output by name. A mapping names its own; tuples are named by `names`, or `output_0` … ."""
    import torch

    if isinstance(output, Mapping):
        found = {str(key): value for key, value in output.items() if isinstance(value, torch.Tensor)}
        if found:
            return found
    values = list(output) if isinstance(output, (tuple, list)) else [output]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    if not tensors:
        raise OnnxfixError(
            f"the module returns {type(output).__name__}, not tensors",
            "export one around it whose forward returns tensors, in a tuple or by name",
        )
    if names is None:
        names = ["output"] if len(tensors) == 1 else [f"output_{i}" for i in range(len(tensors))]
    return dict(zip(names, tensors, strict=False))

"""TorchModel: a module ready to export, with example inputs, dynamic axes and output names; built from a checkpoint
or a factory, and rebuilt from the provenance of an exported file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.provenance import Provenance

from .checkpoint import Checkpoint

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
        return {str(key): value for key, value in output.items() if isinstance(value, torch.Tensor)}
    values = list(output) if isinstance(output, (tuple, list)) else [output]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    if not tensors:
        raise OnnxfixError(f"the module returns {type(output).__name__}, not tensors", "wrap it with --factory")
    if names is None:
        names = ["output"] if len(tensors) == 1 else [f"output_{i}" for i in range(len(tensors))]
    return dict(zip(names, tensors, strict=False))


def build(checkpoint: Path | None, factory: str, attn: str) -> TorchModel:
    """Build from a factory, else from the checkpoint's config. Raises OnnxfixError for what cannot be loaded."""
    if factory:
        from .factory import from_factory

        return from_factory(factory, checkpoint)
    if checkpoint is None:
        raise OnnxfixError("nothing to build", "name a checkpoint folder or give --factory module:function")
    opened = Checkpoint.open(checkpoint)
    if opened.heads:
        from .multi_head import from_multi_head

        return from_multi_head(opened, attn)
    if (opened.folder / "modules.json").is_file():
        from .sentence_embedding import from_sentence_transformer

        return from_sentence_transformer(opened, attn)
    from .transformers_model import from_transformers

    return from_transformers(opened, attn)


def load_torch(provenance: Provenance) -> tuple[torch.nn.Module, list[str], list[str]]:
    """The module an ONNX file was exported from, with its input and output names, from the file's own metadata.

    Raises OnnxfixError when the checkpoint has moved or its content changed since the export.
    """
    from onnxfix.export.quiet import quiet

    checkpoint = Path(provenance.checkpoint) if provenance.checkpoint else None
    if checkpoint is not None and provenance.checkpoint_sha256:
        found = Checkpoint.open(checkpoint).sha256()
        if found != provenance.checkpoint_sha256:
            raise OnnxfixError(f"{checkpoint} changed since the model was exported from it", "export it again")
    with quiet():
        model = build(checkpoint, provenance.factory, provenance.attn)
    return model.module, model.input_names, model.output_names

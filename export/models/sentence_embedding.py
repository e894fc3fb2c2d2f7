"""sentence-transformers folders (modules.json): the transformer, its pooling and normalisation as one module."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from onnxfix.nouns.errors import OnnxfixError, arg

from .checkpoint import SENTENCE_MODULES, Checkpoint, read_json
from .torch_model import TorchModel
from .transformers_model import from_transformers

if TYPE_CHECKING:
    import torch

OUTPUT = "sentence_embedding"


def from_sentence_transformer(checkpoint: Checkpoint, attn: str) -> TorchModel:
    """One output `sentence_embedding` of shape (batch, hidden). Raises OnnxfixError for other modules than
    Transformer, Pooling (mean or cls) and Normalize."""
    modules = read_json(checkpoint.folder / SENTENCE_MODULES)
    kinds = [str(entry.get("type", "")).rpartition(".")[2] for entry in modules]
    unknown = sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"})
    paths = {kind: str(entry.get("path", "")) for kind, entry in zip(kinds, modules, strict=True)}
    if unknown or paths.get("Transformer") or "Pooling" not in paths:
        raise OnnxfixError(
            f"{checkpoint.folder / SENTENCE_MODULES} is not transformer and pooling only ({', '.join(kinds)})",
            f"build the model with {arg('factory', 'module:function')}",
        )
    pooling = _pooling(checkpoint, paths["Pooling"])
    base = from_transformers(checkpoint, attn)
    if "last_hidden_state" not in base.output_names:
        raise OnnxfixError(f"{checkpoint.architecture} has no last_hidden_state to pool")
    embedding = _embedding_module(base.module, pooling, "Normalize" in kinds)
    return replace(base, module=embedding, output_names=[OUTPUT], labels={}, notes=())


def _pooling(checkpoint: Checkpoint, folder: str) -> str:
    config = read_json(checkpoint.folder / folder / "config.json")
    modes = [key.removeprefix("pooling_mode_") for key, on in config.items() if key.startswith("pooling_mode_") and on]
    if isinstance(config.get("pooling_mode"), str):  # newer files name the mode instead of a flag for each
        modes = [config["pooling_mode"]]
    known = {"mean_tokens": "mean", "mean": "mean", "cls_token": "cls", "cls": "cls"}
    if len(modes) != 1 or modes[0] not in known:
        raise OnnxfixError(
            f"pooling {' + '.join(modes) or '(none)'} is not supported",
            f"build the model with {arg('factory', 'module:function')}",
        )
    return known[modes[0]]


def _embedding_module(model: torch.nn.Module, pooling: str, normalize: bool) -> torch.nn.Module:
    import torch

    class SentenceEmbedding(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
            hidden = self.model(input_ids=input_ids, attention_mask=attention_mask, **more)["last_hidden_state"]
            if pooling == "cls":
                pooled = hidden[:, 0]
            else:
                weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
                pooled = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(pooled, dim=-1) if normalize else pooled

    return SentenceEmbedding().eval()

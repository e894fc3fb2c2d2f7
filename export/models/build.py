"""Builds a TorchModel from a checkpoint or a factory, and again from the provenance of an exported file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix.export.quiet import quiet
from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.provenance import Provenance

from .checkpoint import SENTENCE_MODULES, Checkpoint
from .factory import from_factory
from .multi_head import from_multi_head
from .sentence_embedding import from_sentence_transformer
from .torch_model import TorchModel
from .transformers_model import from_transformers
from .with_past import from_causal

if TYPE_CHECKING:
    import torch


def build(checkpoint: Path | None, factory: str, attn: str, task: str = "", *, pooled: bool = True) -> TorchModel:
    """Build from a factory, else from the checkpoint's config; `pooled` False: of a sentence-transformers folder the
    transformer alone. Raises OnnxfixError for what cannot be loaded, or has not what a task is about."""
    if factory:
        return from_factory(factory, checkpoint, task)
    if checkpoint is None:
        raise OnnxfixError("nothing to build", f"name a checkpoint folder or give {arg('factory', 'module:function')}")
    opened = Checkpoint.open(checkpoint)
    if task:
        return from_causal(opened, attn)
    if opened.heads:
        return from_multi_head(opened, attn)
    if pooled and (opened.folder / SENTENCE_MODULES).is_file():
        return from_sentence_transformer(opened, attn)
    return from_transformers(opened, attn)


def load_torch(provenance: Provenance) -> tuple[torch.nn.Module, list[str], list[str]]:
    """The module an ONNX file was exported from, with its input and output names, from the file's own metadata.

    Raises OnnxfixError when the checkpoint has moved or its content changed since the export.
    """
    checkpoint = Path(provenance.checkpoint) if provenance.checkpoint else None
    if checkpoint is not None and provenance.checkpoint_sha256:
        found = Checkpoint.open(checkpoint).sha256()
        if found != provenance.checkpoint_sha256:
            raise OnnxfixError(f"{checkpoint} changed since the model was exported from it", "export it again")
    with quiet():
        model = build(checkpoint, provenance.factory, provenance.attn, provenance.task, pooled=not provenance.layout)
    return model.module, model.input_names, model.output_names

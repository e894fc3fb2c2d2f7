"""The bundled multi-head classifier: its config.json lists heads and labels, each head is one output."""

from __future__ import annotations

from .checkpoint import Checkpoint
from .text_inputs import TEXT_AXES, text_example, text_input_names
from .torch_model import TorchModel


def from_multi_head(checkpoint: Checkpoint, attn: str) -> TorchModel:
    """Load through `onnxfix.eval.demo.model`; outputs are named after the heads and have shape (batch, labels)."""
    import torch

    from onnxfix.eval.demo.model import MultiHeadClassifier

    chosen = attn or "sdpa"
    module = MultiHeadClassifier.load(checkpoint.folder, torch.float32, chosen).eval()
    names = text_input_names(module, segments=False)
    return TorchModel(
        module=module,
        example=text_example(names, int(checkpoint.config.get("vocab_size", 2))),
        dynamic=dict.fromkeys(names, TEXT_AXES),
        output_names=list(checkpoint.heads),
        labels=checkpoint.heads,
        longest=checkpoint.config.get("max_position_embeddings"),
        attn=chosen,
    )

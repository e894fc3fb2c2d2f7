"""Score the demo classifier: macro F1 per head, and what is lost when one kind of layer is silenced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn

from .batches import Rows, in_order
from .labels import HEADS

ABLATED = {"attention": "attn", "mlp": "mlp"}  # name in the record -> last part of the module's name


@torch.no_grad()
def predictions(model: nn.Module, rows: Rows) -> Tensor:
    """Predicted label numbers, (rows, heads)."""
    outputs = [model(batch.input_ids, batch.attention_mask) for batch in in_order(rows)]
    return torch.cat([torch.stack([head.argmax(-1) for head in logits], dim=1) for logits in outputs])


def scores(model: nn.Module, rows: Rows) -> dict[str, float]:
    """Macro F1 per head over rows that carry all labels."""
    found = predictions(model, rows)
    pairs = {head: (rows.labels[:, i].numpy(), found[:, i].numpy()) for i, head in enumerate(HEADS)}
    return {head: round(float(f1_score(*pair, average="macro")), 4) for head, pair in pairs.items()}


def zeroed(
    _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]
) -> Tensor | tuple[Tensor, ...]:
    """Forward hook: the module's output (or the first of its outputs) becomes zero."""
    if isinstance(output, tuple):
        return (torch.zeros_like(output[0]), *output[1:])
    return torch.zeros_like(output)


@contextmanager
def silenced(model: nn.Module, suffix: str) -> Iterator[int]:
    """Zero the outputs of every module of that name inside the block; yields how many there are."""
    modules = [module for name, module in model.named_modules() if name.rpartition(".")[2] == suffix]
    hooks = [module.register_forward_hook(zeroed) for module in modules]
    try:
        yield len(modules)
    finally:
        for hook in hooks:
            hook.remove()


def ablations(model: nn.Module, rows: Rows) -> dict[str, dict[str, float]]:
    """Macro F1 per head with all attention outputs, then all MLP outputs, at zero."""
    found = {}
    for name, suffix in ABLATED.items():
        with silenced(model, suffix):
            found[name] = scores(model, rows)
    return found

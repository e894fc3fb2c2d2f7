"""The training loop: settings, class weights, loss and schedule of the demo classifier."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from onnxfix.eval.demo.model import MultiHeadClassifier

from .batches import IGNORE, Batch, Rows, batches
from .evaluate import scores
from .labels import HEADS


@dataclass(frozen=True)
class Settings:
    """Hyperparameters, written to training.json as used."""

    seed: int = 1
    epochs: int = 5
    batch: int = 32
    learning_rate: float = 1e-3
    embedding_rate: float = 5e-4  # the factorised embeddings carry most of the knowledge: move them more slowly
    weight_decay: float = 0.05
    warmup: float = 0.06
    dropout: float = 0.0
    token_dropout: float = 0.15  # share of tokens replaced by [MASK]
    label_smoothing: float = 0.05
    distillation: float = 0.5  # share of the loss that follows the teacher's out-of-fold probabilities
    class_exponent: float = 0.5  # class weight = frequency ** -exponent: between natural (0) and balanced (1)
    ema: float = 0.999


def class_weights(labels: Tensor, classes: int, exponent: float) -> Tensor:
    """Per-class loss weights, mean one over the labelled rows."""
    counts = torch.bincount(labels[labels != IGNORE], minlength=classes).float()
    weights = counts**-exponent
    return weights * counts.sum() / (weights * counts).sum()


def optimiser(model: MultiHeadClassifier, settings: Settings) -> torch.optim.AdamW:
    """AdamW with the token embeddings at their own rate, and no decay on them or on norms."""
    embeddings = [p for name, p in model.named_parameters() if "tok_embeddings" in name]
    matrices = [p for name, p in model.named_parameters() if p.ndim > 1 and "tok_embeddings" not in name]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [
        {"params": embeddings, "lr": settings.embedding_rate, "weight_decay": 0.0},
        {"params": matrices, "lr": settings.learning_rate, "weight_decay": settings.weight_decay},
        {"params": vectors, "lr": settings.learning_rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def rate(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up, then cosine to zero."""
    start = max(1, int(steps * warmup))
    return (step + 1) / start if step < start else 0.5 * (1 + math.cos(math.pi * (step - start) / (steps - start)))


def loss_of(logits: tuple[Tensor, ...], batch: Batch, weights: list[Tensor], settings: Settings) -> Tensor:
    """Sum over heads of the weighted cross entropy, mixed with the cross entropy to the teacher.

    Rows without a head's label count for it through the teacher alone.
    """
    total = torch.zeros(())
    for i, (head, soft) in enumerate(zip(logits, batch.soft, strict=True)):
        hard = cross_entropy(
            head, batch.labels[:, i], weights[i], ignore_index=IGNORE, label_smoothing=settings.label_smoothing
        )
        total = total + (1 - settings.distillation) * hard + settings.distillation * cross_entropy(head, soft)
    return total


def fit(
    model: MultiHeadClassifier, rows: Rows, validation: Rows, settings: Settings, checkpoint: Path
) -> MultiHeadClassifier:
    """Train and return the averaged weights (EMA), saved after every epoch."""
    weights = [
        class_weights(rows.labels[:, i], len(labels), settings.class_exponent)
        for i, labels in enumerate(HEADS.values())
    ]
    generator = np.random.default_rng(settings.seed)
    steps = settings.epochs * math.ceil(len(rows.ids) / settings.batch)
    step_with = optimiser(model, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(step_with, lambda step: rate(step, steps, settings.warmup))
    average = copy.deepcopy(model).eval()
    for epoch in range(settings.epochs):
        model.train()
        for batch in batches(rows, settings.batch, generator, settings.token_dropout):
            loss = loss_of(model(batch.input_ids, batch.attention_mask), batch, weights, settings)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            step_with.step()
            schedule.step()
            step_with.zero_grad(set_to_none=True)
            with torch.no_grad():
                torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - settings.ema)
        average.save(checkpoint)
        click.echo(f"epoch {epoch + 1} loss {loss.item():.3f} validation {scores(average, validation)}")
    return average

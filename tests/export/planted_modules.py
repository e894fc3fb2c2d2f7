"""Small torch modules with planted defects, given to the exporter as `--factory planted_modules:NAME`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """Embeds tokens and averages what the mask keeps; subclasses plant one defect each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(50, 8)
        self.positions = nn.Embedding(512, 8)
        self.head = nn.Linear(8, 3)

    def pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        length = torch.arange(input_ids.shape[1])
        hidden = self.words(input_ids) + self.positions(length)
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(self.pooled(input_ids, attention_mask))


class FrozenLength(Encoder):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.words(input_ids) + self.positions(torch.arange(int(input_ids.shape[1])))
        return self.head((hidden * attention_mask.unsqueeze(-1)).sum(1))


class FrozenBatch(Encoder):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits = self.head(self.pooled(input_ids, attention_mask))
        return logits[: int(input_ids.shape[0])]


class FrozenDivisor(Encoder):
    """Runs at any length, with wrong numbers."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.words(input_ids) * attention_mask.unsqueeze(-1)
        return self.head(hidden.sum(1) / int(input_ids.shape[1]))


class IgnoresTheMask(Encoder):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(self.words(input_ids).sum(1))


class HarmlessBranch(Encoder):
    """torch.export refuses the branch on data; tracing records the only side ever taken."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        pooled = self.pooled(input_ids, attention_mask)
        if input_ids.min() < 0:
            pooled = -pooled
        return self.head(pooled)


class HarmfulBranch(Encoder):
    """The side taken depends on padding, which the traced example has."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        pooled = self.pooled(input_ids, attention_mask)
        if attention_mask.min() == 0:
            pooled = -pooled
        return self.head(pooled)


class OnlyTwoRows(Encoder):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return super().forward(input_ids, attention_mask).reshape(2, 3)


class Pixels(nn.Module):
    """An image model with two named outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3)

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        features = self.stem(pixel_values)
        return {"features": features, "brightness": pixel_values.mean((1, 2, 3))}


def pixels() -> tuple[nn.Module, dict[str, Tensor]]:
    return Pixels(), {"pixel_values": torch.randn(1, 3, 16, 16)}


def from_checkpoint(checkpoint: Path) -> nn.Module:
    assert checkpoint.is_dir()
    return Encoder()


def nothing() -> int:
    return 3


def raising() -> nn.Module:
    raise RuntimeError("no such weights")

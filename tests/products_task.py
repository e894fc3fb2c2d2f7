"""A small model and the task that its MLP does all the work of: what tests of int8 measure in F1."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onnxfix.eval.figures.metrics import macro_f1
from onnxfix.eval.run.runners import OrtRunner

CLASSES, WIDTH, INNER = 53, 32, 64


class Products(torch.nn.Module):
    """(a, b) → a·b + a + 2·b modulo 53: no sum of an embedding of a and one of b says it, a gated MLP does."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = torch.nn.Embedding(2 * CLASSES, WIDTH)
        self.norm = torch.nn.LayerNorm(WIDTH)
        self.up = torch.nn.Linear(WIDTH, 2 * INNER, bias=False)
        self.down = torch.nn.Linear(INNER, WIDTH, bias=False)
        self.final = torch.nn.LayerNorm(WIDTH)
        self.head = torch.nn.Linear(WIDTH, CLASSES)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids).sum(1)
        inner, gate = self.up(self.norm(x)).chunk(2, -1)
        x = x + self.down(torch.nn.functional.gelu(inner) * gate)
        answer: torch.Tensor = self.head(self.final(x))
        return answer


@cache
def data() -> tuple[torch.Tensor, np.ndarray[Any, Any]]:
    """All pairs and their classes."""
    a, b = (each.flatten() for each in torch.meshgrid(torch.arange(CLASSES), torch.arange(CLASSES), indexing="ij"))
    return torch.stack([a, b + CLASSES], 1), ((a * b + a + 2 * b) % CLASSES).numpy()


@cache
def trained() -> Products:
    """Some seconds of training; every pair is right afterwards."""
    torch.manual_seed(0)
    ids, classes = data()
    model, wanted = Products(), torch.from_numpy(classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(600):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(ids), wanted).backward()
        optimizer.step()
    return model.eval()


def f1(logits: np.ndarray[Any, Any]) -> float:
    return macro_f1(data()[1], logits.argmax(-1))


def of_file(path: Path) -> float:
    return f1(OrtRunner(path).run({"ids": data()[0].numpy()})["logits"])


def export(model: torch.nn.Module, path: Path) -> Path:
    torch.onnx.export(
        model,
        (data()[0],),
        path,
        dynamo=True,
        verbose=False,
        input_names=["ids"],
        output_names=["logits"],
        dynamic_shapes={"ids": {0: torch.export.Dim("batch")}},
    )
    return path

"""What planted outliers cost in F1: a small model, trained here on a task that its MLP does all the work of."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from terminal import onnxfix

from onnxfix.eval.metrics import macro_f1
from onnxfix.eval.runners import OrtRunner

CLASSES, WIDTH, INNER, PLANTED = 53, 32, 64, [5, 20]


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


def planted(where: str) -> Products:
    """Two channels 64 times as large in the input of the MLP or of its down-projection, made up for behind."""
    model = copy.deepcopy(trained())
    with torch.no_grad():
        if where == "mlp":
            model.norm.weight[PLANTED] *= 64
            model.norm.bias[PLANTED] *= 64
            model.up.weight[:, PLANTED] /= 64
        else:
            model.up.weight[[INNER + k for k in PLANTED]] *= 64
            model.down.weight[:, PLANTED] /= 64
        assert torch.equal(model(data()[0]), trained()(data()[0]))
    return model


def f1(logits: np.ndarray[Any, Any]) -> float:
    return macro_f1(data()[1], logits.argmax(-1))


def of_file(path: Path) -> float:
    return f1(OrtRunner(path).run({"ids": data()[0].numpy()})["logits"])


def test_the_mlp_does_the_work() -> None:
    without = copy.deepcopy(trained())
    with torch.no_grad():
        whole = f1(trained()(data()[0]).numpy())
        without.down.weight.zero_()
        assert whole - f1(without(data()[0]).numpy()) >= 0.3


@pytest.mark.parametrize("where", ["mlp", "down"])
def test_plain_static_int8_collapses_and_migration_keeps_the_score(tmp_path: Path, where: str) -> None:
    ids = data()[0]
    source, inputs = tmp_path / "float.onnx", tmp_path / "ids.npz"
    torch.onnx.export(
        planted(where),
        (ids,),
        source,
        dynamo=True,
        verbose=False,
        input_names=["ids"],
        output_names=["logits"],
        dynamic_shapes={"ids": {0: torch.export.Dim("batch")}},
    )
    np.savez(inputs, ids=ids.numpy())
    scores = {}
    # one layer of width 32 averages no noise out: int8 costs 6e-2 of the logits, and no class
    for name, options in (("plain", ("--no-migrate-outliers", "--no-verify")), ("ours", ("--max-error", "0.1"))):
        result = tmp_path / f"{name}.onnx"
        done = onnxfix("repair", source, "--int8", "static", "--calibrate", inputs, *options, "-o", result)
        assert done.returncode == 0, done.stderr
        scores[name] = of_file(result)
    assert of_file(source) - scores["plain"] >= 0.2
    assert of_file(source) - scores["ours"] <= 0.02

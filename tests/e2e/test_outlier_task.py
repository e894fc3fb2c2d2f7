"""What planted outliers cost in F1, on a small model trained here."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from products_task import INNER, Products, data, export, f1, of_file, trained
from terminal import onnxfix

PLANTED = [5, 20]


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


def test_the_mlp_does_the_work() -> None:
    without = copy.deepcopy(trained())
    with torch.no_grad():
        whole = f1(trained()(data()[0]).numpy())
        without.down.weight.zero_()
        assert whole - f1(without(data()[0]).numpy()) >= 0.3


@pytest.mark.parametrize("where", ["mlp", "down"])
def test_plain_static_int8_collapses_and_migration_keeps_the_score(tmp_path: Path, where: str) -> None:
    source, inputs = tmp_path / "float.onnx", tmp_path / "ids.npz"
    export(planted(where), source)
    np.savez(inputs, ids=data()[0].numpy())
    scores = {}
    # one layer of width 32 averages no noise out: int8 costs 6e-2 of the logits, and no class
    for name, options in (("plain", ("--no-migrate-outliers", "--no-verify")), ("ours", ("--max-error", "0.1"))):
        result = tmp_path / f"{name}.onnx"
        done = onnxfix("repair", source, "--int8", "static", "--calibrate", inputs, *options, "-o", result)
        assert done.returncode == 0, done.stderr
        scores[name] = of_file(result)
    assert of_file(source) - scores["plain"] >= 0.2
    assert of_file(source) - scores["ours"] <= 0.02

"""Planted outliers: what one scale for an activation costs, what migration keeps, and that the diagnosis names them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx_ir as ir
import polars
import pytest
from terminal import onnxfix

from onnxfix.eval.demo import CHECKPOINT, HOLDOUT
from onnxfix.eval.inputs.feeds import make_feeds
from onnxfix.nouns.model import Model
from onnxfix.surgery.sites.linear import linears

PLANTED = (11, 100)
LAYER = 1
CONFIG = json.loads((CHECKPOINT / "config.json").read_text())
HIDDEN, INNER = CONFIG["hidden_size"], CONFIG["intermediate_size"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    shortest = polars.read_parquet(HOLDOUT).sort(polars.col("text").str.len_chars()).head(64)
    shortest.write_parquet(path)
    return path


def multiply(linear: linears.Linear, axis: int, indices: Sequence[int], factor: float) -> None:
    """Rows (`axis` 0, of the activation's channels) or columns of a weight, however the export stores it."""
    turned = any(node.op_type == "Transpose" for node in linear.weight.path)
    scale(linear.weight.source, 1 - axis if turned else axis, indices, factor)


def scale(value: ir.Value, axis: int, indices: Sequence[int], factor: float) -> None:
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    np.moveaxis(array, axis, 0)[list(indices)] *= np.float32(factor)
    value.const_value = ir.Tensor(array, name=value.name)


def planted(source: Path, where: str, result: Path) -> Path:
    """Two channels 64 times as large in the input of a layer's MLP, or of its down-projection, made up for behind."""
    model = Model.open(source)
    found = linears.find(model)
    up = [x for x in found if x.elements == HIDDEN * 2 * INNER][LAYER]
    down = [x for x in found if x.elements == INNER * HIDDEN and x is not up][LAYER]
    if where == "mlp":
        norm = up.node.inputs[0].producer()
        assert norm is not None and norm.op_type == "LayerNormalization"
        scale(norm.inputs[1], 0, PLANTED, 64)  # its bias is zero
        multiply(up, 0, PLANTED, 1 / 64)
    else:
        multiply(up, 1, [INNER + k for k in PLANTED], 64)
        multiply(down, 0, PLANTED, 1 / 64)
    Model(model.ir, Path("float.onnx")).save(result)
    for feed in make_feeds(model):
        for name, expected in graphs.run(Model.open(source), feed.arrays).items():
            assert np.array_equal(expected, graphs.run(model, feed.arrays)[name])
    return result


def diagnosis(quantized: Path, source: Path, rows: Path) -> dict[str, Any]:
    arguments = ("--target", "cpu", "--against", source, "--calibrate", rows, "--checkpoint", CHECKPOINT)
    done = onnxfix("diagnose", quantized, *arguments, "--format", "json")
    assert done.returncode in (0, 1), done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize(("name", "where"), [("legacy", "mlp"), ("dynamo", "down"), ("unoptimized", "mlp")])
def test_the_layer_and_its_channels_are_named_and_migration_repairs_it(
    exports: dict[str, Path], tmp_path: Path, rows: Path, name: str, where: str
) -> None:
    source = planted(exports[name], where, tmp_path / "planted.onnx")
    static = ("--int8", "static", "--calibrate", rows, "--checkpoint", CHECKPOINT)
    plain, ours = tmp_path / "plain.onnx", tmp_path / "ours.onnx"
    assert onnxfix("repair", source, *static, "--no-migrate-outliers", "--no-verify", "-o", plain).returncode == 0
    done = onnxfix("repair", source, *static, "-o", ours)
    assert done.returncode == 0, done.stderr

    before = diagnosis(plain, source, rows)
    worst = before["against"]["layers"][0]
    assert worst["snr_db"] <= 10 and f"layers.{LAYER}.mlp" in worst["site"]["scope"], worst
    assert worst["cause"] == "activation-outliers"
    assert {channel for channel, _ in worst["channels"][:2]} == set(PLANTED)
    named = [f for f in before["findings"] if f["name"] == "quantized-layer-is-noisy"]
    assert [f["site"]["value"] for f in named] == [worst["site"]["value"]]
    assert "--int8 static --calibrate" in named[0]["repair"]

    after = diagnosis(ours, source, rows)
    same = [x["snr_db"] for x in after["against"]["layers"] if f"layers.{LAYER}.mlp" in x["site"]["scope"]]
    assert same and min(same) >= 25
    assert not [f for f in after["findings"] if f["name"] == "quantized-layer-is-noisy"]

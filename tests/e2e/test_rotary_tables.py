"""cos and sin at positions 0 to 8,191, of real exports, against torch's fp32 and against their own source."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from zoo import rotary_variants
from zoo.architectures import BY_NAME, EXPORTERS, Architecture
from zoo.make import export
from zoo.rotary import LEAST, ROTARY, influence
from zoo.rotary_variants import FROZEN
from zoo.tables import graph_tables, torch_tables

from onnxfix.eval.numerics.emulator import emulated
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.eval.run.session import on_disk
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.nouns.types.inference import infer
from onnxfix.surgery.recipes import Wish, recipe

# RoFormer looks its angles up in a table of weights: there is nothing to compute.
COMPUTED = sorted(ROTARY - {"roformer"})
MEMBERS = [(name, exporter) for name in COMPUTED for exporter in EXPORTERS]
SAMPLE = sorted(random.Random(3).sample(MEMBERS, 3))
LENGTH = 8192
# Half a unit in the last place of a number just below 1, and a little for torch's own cosine.
LIMITS = {"fp16": 2.5e-4, "bf16": 2.5e-3}


def tables(model: Model, length: int) -> dict[str, np.ndarray]:
    part = emulated(graph_tables(model))
    ids = np.ones((1, length), dtype=np.int64)
    with on_disk(part) as path:
        runner = OrtRunner(path, level="none", threads=1)
        found = runner.run({str(v.name): ids for v in part.graph.inputs})
    return {name: np.asarray(array, np.float32) for name, array in found.items()}


def check(source: Path, architecture: Architecture) -> None:
    """Every table of an export, in both half precisions."""
    model = Model.open(source)
    expected = tables(model, LENGTH)
    torches = list(expected.values()) if architecture.name in FROZEN else torch_tables(architecture, LENGTH)
    assert expected, "no rotary site was found"
    for precision, limit in LIMITS.items():
        half, _ = recipe(Wish(Target.resolve("cuda"), precision), model).apply(model)
        assert infer(half.ir).conflicts == []
        found = tables(half, LENGTH)
        edges = [key for key in found if key.startswith("edge/")]
        assert edges, "cos and sin are not cast to half"
        for key in edges:
            before, after = found[key.replace("edge", "trig")], found[key]
            assert np.array_equal(before, expected[key.replace("edge", "trig")]), "not bit-identical before the cast"
            assert _distance(before, after, torches, limit) <= 1, f"{key} of {source.stem} in {precision}"


def _distance(exact: np.ndarray, found: np.ndarray, torches: list[np.ndarray], limit: float) -> float:
    """The largest error against the nearest of torch's tables, in units of the limit.

    YaRN and LongRoPE scale cos and sin by up to 1.4. Above 1 half precision has half the digits behind the point: the
    number nearest to 1.1 is already off by up to 4.9e-4 in fp16.
    """
    scale = max(1.0, float(np.abs(exact).max()))
    distances = [np.inf]
    for table in (t * s for t in torches for s in {1.0, scale} if t.size == found.size):
        allowed = limit * np.where(np.abs(table) > 1, 2, 1) * scale
        distances.append(float((np.abs(found.reshape(-1) - table.reshape(-1)) / allowed.reshape(-1)).max()))
    return min(distances)


@pytest.mark.parametrize(("name", "exporter"), SAMPLE)
def test_tables_of_half_precision(name: str, exporter: str, tmp_path: Path) -> None:
    path = export(BY_NAME[name], exporter, tmp_path)
    assert path is not None, (tmp_path / f"{name}-{exporter}.failed").read_text()
    check(path, BY_NAME[name])


@pytest.mark.parametrize(
    ("name", "exporter"),
    [("linear", "dynamo"), ("dynamic", "legacy"), ("yarn", "legacy"), ("llama3", "dynamo"), ("longrope", "dynamo"),
     ("interleaved", "dynamo")],
)  # fmt: skip
def test_scaled_and_interleaved_tables(name: str, exporter: str, tmp_path: Path) -> None:
    architecture = rotary_variants.BY_NAME[name]
    assert influence(architecture, 0.0, 0.0) >= LEAST
    path = export(architecture, exporter, tmp_path)
    assert path is not None, (tmp_path / f"{name}-{exporter}.failed").read_text()
    check(path, architecture)

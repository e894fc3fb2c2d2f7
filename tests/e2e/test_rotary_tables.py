"""cos and sin at positions 0 to 8,191, of real exports, against torch's fp32 and against their own source."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from zoo.architectures import BY_NAME, EXPORTERS
from zoo.make import export
from zoo.rotary import ROTARY
from zoo.tables import graph_tables, torch_tables

from onnxfix.element_types import infer
from onnxfix.eval.emulator import emulated
from onnxfix.eval.runners import OrtRunner
from onnxfix.eval.session import on_disk
from onnxfix.model import Model
from onnxfix.surgery.recipes import Wish, recipe
from onnxfix.target import Target

# RoFormer looks its angles up in a table of weights: there is nothing to compute.
COMPUTED = sorted(ROTARY - {"roformer"})
MEMBERS = [(name, exporter) for name in COMPUTED for exporter in EXPORTERS]
SAMPLE = sorted(random.Random(3).sample(MEMBERS, 4))
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


def check(source: Path, name: str) -> None:
    """Every table of an export, in both half precisions."""
    model = Model.open(source)
    expected = tables(model, LENGTH)
    torches = torch_tables(BY_NAME[name], LENGTH)
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
            scale = max(1.0, float(np.abs(before).max()))
            nearest = min((float(np.abs(after.reshape(-1) - t.reshape(-1) * s).max()) for t in torches
                           for s in {1.0, scale} if t.size == after.size), default=np.inf)  # fmt: skip
            assert nearest <= limit * scale, f"{key} of {source.stem} in {precision}"


@pytest.mark.parametrize(("name", "exporter"), SAMPLE)
def test_tables_of_half_precision(name: str, exporter: str, tmp_path: Path) -> None:
    path = export(BY_NAME[name], exporter, tmp_path)
    assert path is not None, (tmp_path / f"{name}-{exporter}.failed").read_text()
    check(path, name)

"""A seeded sample of the zoo: the forecast against the real runtime, and no copy left after repair.

All members: `make zoo`.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from oracle.runtime import Oracle
from zoo.architectures import ARCHITECTURES, BY_NAME, EXPORTERS, WINDOW
from zoo.make import export
from zoo.rotary import LEAST, ROTARY, influence
from zoo.table import measure

import onnxfix
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery.passes.fold_constant_transposes import FoldConstantTransposes
from onnxfix.surgery.passes.pack_tokens import PackTokens
from onnxfix.surgery.recipe import Recipe
from onnxfix.surgery.recipes import Wish, recipe
from onnxfix.surgery.sites.linear import linears

MEMBERS = [(a.name, exporter) for a in ARCHITECTURES if a.small for exporter in EXPORTERS]
SAMPLE = sorted(random.Random(7).sample(MEMBERS, 4))


def test_the_zoo_has_what_it_promises() -> None:
    assert {a.model for a in ARCHITECTURES} >= {
        "ModernBertModel", "BertModel", "RoFormerModel", "LlamaModel", "Qwen3Model", "GPTNeoXModel", "NomicBertModel",
        "EuroBertModel",
    }  # fmt: skip
    assert len(MEMBERS) >= 72 and {e for _, e in SAMPLE} == set(EXPORTERS)
    assert BY_NAME["modernbert-large"].settings["num_hidden_layers"] == 28 and WINDOW["local_attention"] == 8


def test_rotary_angles_matter_in_the_zoo() -> None:
    """Gone (cos and sin zero) and standing still (as at position 0), in every architecture that has them."""
    for architecture in (a for a in ARCHITECTURES if a.small):
        gone, still = influence(architecture, 0.0, 0.0), influence(architecture, 1.0, 0.0)
        if architecture.name in ROTARY:
            assert min(gone, still) >= LEAST, architecture.name
        else:
            assert gone == still == 0, f"{architecture.name} is rotary: name it in ROTARY"


@pytest.mark.parametrize(("name", "exporter"), SAMPLE)
def test_forecast_and_repair(oracle: Oracle, tmp_path: Path, name: str, exporter: str) -> None:
    path = export(BY_NAME[name], exporter, tmp_path)
    assert path is not None, (tmp_path / f"{name}-{exporter}.failed").read_text()
    row = measure(path, oracle)
    assert row.differences == () and row.errors == ()
    assert row.copies[1:] == (0, 0), "copies after repair in fp32 and in fp16"
    if BY_NAME[name].kind == "text":
        every_layer_is_packed(path, tmp_path / "packed.onnx")


def every_layer_is_packed(path: Path, result: Path) -> None:
    """All products with weights, with the error of padding at the right, at the left and between tokens."""
    done = onnxfix.repair(path, target="cpu", precision="fp32", pack_tokens=True, output=result)
    assert "on 8 feeds" in done.verified
    prepared, _ = recipe(Wish(Target.resolve("cpu"), "fp32"), Model.open(path)).apply(Model.open(path))
    prepared, _ = Recipe((FoldConstantTransposes(),)).apply(prepared)
    assert PackTokens().measure(prepared) == len(linears.find(prepared))

"""Profiles of the bundled model's exports: time lands in torch's modules, and no run is faster than its bound."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxfix.eval.demo import CHECKPOINT
from onnxfix.eval.profile.node_scopes import TOP, UNKNOWN
from onnxfix.eval.profile.op_profile import Profile, profile
from onnxfix.eval.roofline.peak_rates import Peaks, measure_peaks
from onnxfix.eval.roofline.roofline import roofline
from onnxfix.flows.repair.repaired import Repaired

ROWS, LENGTH = 4, 96
FEED = {name: np.ones((ROWS, LENGTH), np.int64) for name in ("input_ids", "attention_mask")}
CONFIG = json.loads((CHECKPOINT / "config.json").read_text(encoding="utf-8"))
LAYERS, HIDDEN, INNER = (CONFIG[key] for key in ("num_hidden_layers", "hidden_size", "intermediate_size"))
LINEARS = ("attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo")


@pytest.fixture(scope="module")
def peaks() -> Peaks:
    return measure_peaks()


def products(found: Profile, *op_types: str) -> dict[str, list[str]]:
    """Scope → operators with at least as many operations as the smallest linear of a layer."""
    least = 2 * ROWS * LENGTH * HIDDEN * HIDDEN
    made: dict[str, list[str]] = {}
    for node in found.nodes:
        if (node.flops or 0) >= least:
            made.setdefault(node.scope, []).append(node.op_type)
    return made


@pytest.mark.parametrize("name", ["legacy", "dynamo", "unoptimized"])
def test_time_is_attributed_to_torch_modules(name: str, exports: dict[str, Path]) -> None:
    found = profile(exports[name], [FEED], runs=3)
    shares = {row.name: row.share for row in found.by("scope")}
    assert shares.get(UNKNOWN, 0.0) + shares.get(TOP, 0.0) < 0.05
    wanted = {f"model.backbone.layers.{i}.{linear}": ["MatMul"] for i in range(LAYERS) for linear in LINEARS}
    linears = {scope: types for scope, types in products(found).items() if scope.endswith(LINEARS)}
    assert linears == wanted
    rows = {row.name: row.nodes for row in found.by("scope")}
    assert all(rows[f"model.backbone.layers.*.{linear}"] == LAYERS for linear in LINEARS)
    # scores are scaled in the product itself, which has another name; without the exporter's optimizer it has no scale
    fused = [node.scope for node in found.nodes if node.op_type == "FusedMatMul"]
    assert sorted(fused) == [f"model.backbone.layers.{i}.attn" for i in range(LAYERS) if name != "unoptimized"]
    norms = {node.scope.split(".")[-1] for node in found.nodes if node.op_type.endswith("LayerNormalization")}
    assert norms == {"norm", "attn_norm", "mlp_norm", "final_norm"}


@pytest.mark.parametrize("name", ["legacy", "dynamo", "unoptimized"])
def test_int8_products_stand_in_their_linears(name: str, repaired: Callable[[str, str], Repaired]) -> None:
    found = profile(repaired(name, "int8").output, [FEED], runs=1)
    linears = {scope: types for scope, types in products(found).items() if scope.endswith(LINEARS)}
    assert len(linears) == LAYERS * len(LINEARS) and {t for types in linears.values() for t in types} <= {
        "DynamicQuantizeMatMul", "MatMulIntegerToFloat"
    }  # fmt: skip
    assert {row.name: row.share for row in found.by("scope")}.get(UNKNOWN, 0.0) < 0.05


@pytest.mark.parametrize("name", ["legacy", "dynamo", "unoptimized"])
def test_work_is_that_of_the_configuration_and_no_run_beats_its_bound(
    name: str, exports: dict[str, Path], peaks: Peaks
) -> None:
    measured = profile(exports[name], [FEED], runs=3)
    found = roofline(exports[name], [FEED], peaks, measured=measured)
    tokens = ROWS * LENGTH
    linears = 2 * tokens * (3 * HIDDEN * HIDDEN + HIDDEN * HIDDEN + 2 * HIDDEN * INNER + INNER * HIDDEN)
    work = LAYERS * (linears + 4 * tokens * LENGTH * HIDDEN)
    assert found.flops == pytest.approx(work, rel=1e-3) and found.uncounted == ()
    # optimisations fuse products and leave out none
    assert sum(node.flops or 0 for node in measured.nodes) == found.flops
    rows = {row.scope: row for row in found.scopes}
    assert rows["model.backbone.layers.*.mlp.Wi"].flops == LAYERS * 2 * tokens * 2 * HIDDEN * INNER
    weight = 4 * 2 * HIDDEN * INNER
    assert rows["model.backbone.layers.*.mlp.Wi"].bytes >= LAYERS * (weight + 4 * tokens * (HIDDEN + 2 * INNER))
    assert 0 < found.bound_ms < found.measured_ms and found.gap > 1


def test_int8_lowers_the_bound(exports: dict[str, Path], repaired: Callable[[str, str], Repaired]) -> None:
    peaks = Peaks("cpu", 1, {"fp32": 1e11, "int8": 4e11}, 1e12)
    before = roofline(exports["dynamo"], [FEED], peaks)
    after = roofline(repaired("dynamo", "int8").output, [FEED], peaks)
    assert after.flops == before.flops and after.bound_ms < before.bound_ms / 2

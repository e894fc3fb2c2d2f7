"""The placement forecast against recorded plans of the real runtime: says something on machines without cc too."""

from __future__ import annotations

from pathlib import Path

import graphs
import onnx
import pytest
from oracle import golden
from oracle.compare import differences
from oracle.random_graphs import random_model
from oracle.runtime import Oracle, RuntimePlan
from provider_names import CPU, CUDA
from test_placement import CASES

from onnxfix.diagnose.placement.forecast import forecast
from onnxfix.nouns.model import Model
from onnxfix.nouns.runtime.kernels import KernelTable
from onnxfix.nouns.target import Target

VERSION, PLANS = golden.read()


NAMES = [*CASES, *(f"random {seed}" for seed in golden.SEEDS)]


def model_named(name: str) -> Model:
    if name in CASES:
        return CASES[name].model()
    return graphs.opened(random_model(int(name.removeprefix("random "))))


def test_every_graph_is_recorded() -> None:
    assert list(PLANS) == NAMES, "run 'python tools/golden_placement.py'"


@pytest.mark.parametrize("name", NAMES)
def test_forecast_is_what_was_recorded(name: str) -> None:
    if KernelTable.load().requested != VERSION:
        pytest.skip(f"the recorded plans are of ONNX Runtime {VERSION}")
    assert differences(forecast(model_named(name), Target.resolve("cuda")), PLANS[name]) == []


def test_recorded_plans_say_something() -> None:
    """Both providers, both directions, several nodes: a lost line in the file would show."""
    assert sum(len(plan.nodes) for plan in PLANS.values()) > 200
    assert {provider for plan in PLANS.values() for provider, _, _ in plan.nodes} == {CPU, CUDA}
    assert {direction for plan in PLANS.values() for direction, _ in plan.copies} == {"to_host", "from_host"}
    assert not any(plan.error for plan in PLANS.values())


def test_a_difference_is_found() -> None:
    """The comparison itself: a wrong provider, a missing copy and an unexpected refusal each show."""
    name = "no CUDA kernel at any version: copied out and back"
    plan, real = forecast(model_named(name), Target.resolve("cuda")), PLANS[name]
    moved = RuntimePlan(tuple((CUDA, name, op_type) for _, name, op_type in real.nodes), real.copies)
    assert any("SplitToSequence" in line for line in differences(plan, moved))
    assert any("copy" in line for line in differences(plan, RuntimePlan(real.nodes, real.copies[:1])))
    assert differences(plan, RuntimePlan(error="refused")) != []


def test_recorded_plans_are_fresh(oracle: Oracle, tmp_path: Path) -> None:
    if KernelTable.load().requested != VERSION:
        pytest.skip(f"the recorded plans are of ONNX Runtime {VERSION}")
    for name in NAMES:
        onnx.save(graphs.proto_of(model_named(name)), tmp_path / "model.onnx")
        assert oracle.plan(tmp_path / "model.onnx") == PLANS[name], f"{name}: run 'python tools/golden_placement.py'"

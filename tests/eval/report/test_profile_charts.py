"""The plot by layer: layers in their order, and one point for what is none."""

from __future__ import annotations

import re
from typing import Any

from onnxfix.eval.report import profile_charts


def labels(times: dict[str, float]) -> list[str]:
    """The names on the axis, from left to right."""
    parts: list[dict[str, Any]] = [{"name": name, "ms": ms, "count": 3} for name, ms in times.items()]
    idle = {"name": "between operators", "ms": 9.0, "count": 0}
    document = {"profiles": {"a": {"wall_ms": 10.0, "by": {"layer": [*parts, idle]}}}}
    drawn = profile_charts.layers(document)
    return [name for name in re.findall(r">([^<>]+)</text>", drawn) if re.search(r"[a-z]|^[0-9]+$", name)]


def values(times: dict[str, float]) -> str:
    parts = [{"name": name, "ms": ms, "count": 3} for name, ms in times.items()]
    return profile_charts.layers({"profiles": {"a": {"wall_ms": 10.0, "by": {"layer": parts}}}})


def test_layers_stand_in_their_order_and_the_rest_is_one_point() -> None:
    layers = {f"model.layers.{i}": 1.0 + i for i in (2, 10, 1, 0)}
    found = labels({"model.embeddings.norm": 0.25, **layers, "model.head": 0.5, "hook": 0.125})
    assert found[:5] == ["0", "1", "2", "10", "others"]
    assert not any("head" in name or "hook" in name or "operators" in name for name in found)


def test_the_rest_is_summed() -> None:
    drawn = values({"model.layers.0": 1.0, "model.layers.1": 2.0, "model.head": 0.5, "model.norm": 0.25})
    assert "others: 0.75 ms" in drawn and "model.layers.1: 2 ms" in drawn


def test_two_stacks_keep_their_names() -> None:
    found = labels({"encoder.layers.0": 1.0, "encoder.layers.1": 1.0, "decoder.layers.0": 2.0, "shared": 0.5})
    assert found[:4] == ["decoder.layers.0", "encoder.layers.0", "encoder.layers.1", "others"]


def test_a_model_without_layers_has_its_modules() -> None:
    assert labels({"model.conv": 1.0, "model.head": 2.0})[:2] == ["conv", "head"]

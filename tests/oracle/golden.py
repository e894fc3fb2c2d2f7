"""Recorded plans of the real runtime, for machines on which it cannot be asked: tests/golden/placement.json.

A plan a few lines: nodes as `Operator name` in the order of their names, copies as `direction value`.
`tools/golden_placement.py` writes the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from provider_names import CPU, CUDA

from oracle.runtime import RuntimePlan

FILE = Path(__file__).parents[1] / "golden" / "placement.json"
SEEDS = (2, 11, 13, 17, 23, 29, 41, 53)
"""Random graphs that are recorded beside the hand-written ones."""


def read() -> tuple[str, dict[str, RuntimePlan]]:
    """The ONNX Runtime version that the plans are of, and the plans by name."""
    raw = json.loads(FILE.read_text(encoding="utf-8"))
    return raw["onnxruntime"], {name: _plan(row) for name, row in raw["plans"].items()}


def write(version: str, plans: Mapping[str, RuntimePlan]) -> None:
    rows = {name: _row(plan) for name, plan in plans.items()}
    text = json.dumps({"onnxruntime": version, "plans": rows}, indent=1, ensure_ascii=False)
    FILE.write_text(text + "\n", encoding="utf-8")


def _row(plan: RuntimePlan) -> dict[str, str]:
    row = {
        provider: ", ".join(f"{op_type} {name}" for owner, name, op_type in plan.nodes if owner == provider)
        for provider in (CUDA, CPU)
    }
    row |= {"copies": ", ".join(f"{direction} {value}" for direction, value in plan.copies), "error": plan.error}
    return {key: text for key, text in row.items() if text}


def _plan(row: Mapping[str, str]) -> RuntimePlan:
    nodes = [
        (provider, name, op_type)
        for provider in (CUDA, CPU)
        for op_type, name in (text.split(" ", 1) for text in row.get(provider, "").split(", ") if text)
    ]
    copies = [tuple(text.split(" ", 1)) for text in row.get("copies", "").split(", ") if text]
    raw: dict[str, Any] = {"nodes": nodes, "copies": copies, "error": row.get("error", "")}
    return RuntimePlan.of(raw)

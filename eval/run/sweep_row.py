"""SweepRow: a row of a bench by name, as data: in what it runs, on what, and of which sweeps it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine import Engine

NAMED, SEED, REPAIRED = "named", "seed", "repaired"
"""Beside the files that the user names; as in the report that gave up on ONNX; what onnxfix repair makes."""


@dataclass(frozen=True)
class SweepRow:
    """The torch module, or a file made of an `export`: by onnxfix repair with `options` (keywords), by a converter
    `alone`, or as it is. The option PROVIDER is that of the bench.
    """

    name: str
    engine: Engine
    export: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    alone: str = ""
    calibrated: bool = False
    sweeps: tuple[str, ...] = ()

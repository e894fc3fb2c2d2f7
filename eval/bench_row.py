"""One row of a bench: every figure of one variant, and the flat form that tables and JSON share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class HeadFigures:
    """One classifier head against the gold labels: macro F1 and accuracy, 0 to 1."""

    f1: float
    accuracy: float


@dataclass(frozen=True)
class BenchRow:
    """Figures are NaN where not measured: no data, no such device, or the variant failed (`failure` says why)."""

    variant: str
    kind: str
    dtype: str
    exporter: str = ""
    verified: str = ""
    note: str = ""
    failure: str = ""
    size_mb: float = math.nan
    """Million bytes: the ONNX file with its data, or the weights of the torch module."""
    load_s: float = math.nan
    ms_per_sample: float = math.nan
    ms_p95: float = math.nan
    samples_per_s: float = math.nan
    round_ms: tuple[float, ...] = ()
    memory_mb: float = math.nan
    """Million bytes of peak host memory beyond the runtime without a model."""
    vram_mb: float = math.nan
    heads: dict[str, HeadFigures] = field(default_factory=dict)
    agreement: float = math.nan
    """Share of rows with the baseline's class in every head."""
    agreement_with_reference: float = math.nan
    rel_l2_logits: float = math.nan
    """Of the worst output, against the reference."""
    max_abs_logits: float = math.nan
    nonfinite_rows: int = 0
    """Rows with a NaN or infinite output where the reference is finite."""
    result: str = ""

    @property
    def measured(self) -> bool:
        return not self.failure

    @property
    def main_memory_mb(self) -> float:
        """Of the device the models ran on: VRAM where it is known."""
        return self.memory_mb if math.isnan(self.vram_mb) else self.vram_mb

    def as_dict(self) -> dict[str, Any]:
        """Flat: `f1_<head>` and `accuracy_<head>` columns, None for what was not measured."""
        flat: dict[str, Any] = {
            name: _plain(getattr(self, name)) for name in self.__dataclass_fields__ if name not in ("heads", "result")
        }
        for head, figures in self.heads.items():
            flat[f"f1_{head}"] = _plain(figures.f1)
            flat[f"accuracy_{head}"] = _plain(figures.accuracy)
        return flat | {"result": self.result}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value

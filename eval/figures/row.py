"""One row of a bench: every figure of one variant, and the flat form that tables and JSON share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from .latency import Interval

LAST = ("heads", "metrics", "result")  # fields that become columns of their own


@dataclass(frozen=True)
class HeadFigures:
    """One classifier head against the gold labels: macro F1 and accuracy, 0 to 1.

    `low` to `high`: 95 % bootstrap interval of its F1 less the baseline's; `below`: less the reference's, where
    it is lower than that by more than counts as the same.
    """

    f1: float
    accuracy: float
    low: float = math.nan
    high: float = math.nan
    below: Interval = field(default_factory=Interval)


@dataclass(frozen=True, kw_only=True)
class Times:
    """Times of one variant at one batch size and length; NaN where not measured."""

    ms_per_sample: float = math.nan
    """The median, with its 95 % bootstrap interval in `ms_low` to `ms_high`."""
    ms_low: float = math.nan
    ms_high: float = math.nan
    ms_p95: float = math.nan
    ms_p99: float = math.nan
    samples_per_s: float = math.nan
    ratio: float = math.nan
    """Time by the baseline's on the same batches of the same rounds, with its 95 % bootstrap interval."""
    ratio_low: float = math.nan
    ratio_high: float = math.nan

    @property
    def median(self) -> Interval:
        return Interval(self.ms_per_sample, self.ms_low, self.ms_high)

    @property
    def by_baseline(self) -> Interval:
        return Interval(self.ratio, self.ratio_low, self.ratio_high)


@dataclass(frozen=True)
class BenchRow(Times):
    """Figures are NaN where not measured: no data, no such device, or the variant failed (`failure` says why)."""

    variant: str
    kind: str
    dtype: str
    exporter: str = ""
    verified: str = ""
    note: str = ""
    batching: str = ""
    """`padded` in data order or `sorted` by length before; empty where rows have no lengths of their own."""
    packed: bool = False
    """It computes on the real tokens of a batch alone, however padded."""
    made_by: str = ""
    """The command that made the file."""
    failure: str = ""
    defect: str = ""
    """What `onnxfix diagnose` finds wrong with the file for the provider of the bench, in a few words."""
    elsewhere: str = ""
    """The same for another provider that the bench was asked about; without a defect, what is good about it there."""
    size_mb: float = math.nan
    """Million bytes: the ONNX file with its data, or the weights of the torch module."""
    load_s: float = math.nan
    round_ms: tuple[float, ...] = ()
    """The median of each round as it was measured."""
    round_ratios: tuple[float, ...] = ()
    joules_per_sample: float = math.nan
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
    kl_logits: float = math.nan
    """Mean over rows of the divergence of its classes' probabilities from the reference's, in nats; the worst head."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The task's own."""
    nonfinite_rows: int = 0
    """Rows with a NaN or infinite output where the reference is finite."""
    sound: bool = False
    """It works, answers as the reference does and has no defect."""
    dominated_by: str = ""
    """The variant that is no worse in anything and clearly better in time or memory."""
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
        flat: dict[str, Any] = {name: _plain(getattr(self, name)) for name in _columns(self) if name not in LAST}
        for head, figures in self.heads.items():
            flat[f"f1_{head}"] = _plain(figures.f1)
            flat[f"f1_{head}_low"], flat[f"f1_{head}_high"] = _plain(figures.low), _plain(figures.high)
            flat[f"accuracy_{head}"] = _plain(figures.accuracy)
        flat |= {f"metric_{name}": _plain(value) for name, value in self.metrics.items()}
        return flat | {"result": self.result}


@dataclass(frozen=True)
class BenchPoint(Times):
    """Times of one variant at one batch size and length; `length` None: the data's own. `failure` says why not."""

    variant: str
    batch: int
    length: int | None
    batching: str = ""
    failure: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {name: _plain(getattr(self, name)) for name in _columns(self)}


def _columns(record: Times) -> list[str]:
    """Its fields, what it is of before its times."""
    return sorted(record.__dataclass_fields__, key=lambda name: name in Times.__dataclass_fields__)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Profiles of a bench's ONNX variants: where the time of one batch goes, and how far it is from what could be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxfix.eval.inputs.point import Point, timed_batches
from onnxfix.eval.inputs.workload import Arrays, Workload, with_defaults
from onnxfix.eval.profile.op_profile import KEYS, Key, Profile, profile
from onnxfix.eval.roofline.peak_rates import Peaks, measure_peaks
from onnxfix.eval.roofline.roofline import Roofline, roofline
from onnxfix.nouns.model import Model
from onnxfix.nouns.runtime.provider import named

from .progress import Progress
from .variant import Variant
from .worker import Settings, VariantFailure, Worker

SHOWN, LAYERS = 20, 200
"""Rows of a table, and of layers; the rest are one row."""


def profiles(
    variants: Sequence[Variant],
    workload: Workload,
    point: Point,
    settings: Settings = Settings(),  # noqa: B008  frozen
    *,
    progress: Progress = lambda step: None,
) -> dict[str, dict[str, Any]]:
    """Variant name → its tables and roofline on the first timed batch, ready for JSON; or `failure`, one line.

    ONNX files in ONNX Runtime alone, each in a process of its own. `progress` is called once each.
    """
    found = {}
    peaks = measure_peaks(settings.provider, settings.threads)
    filled = with_defaults(workload, {name for variant in variants for name in variant.inputs()})
    arrays = timed_batches(filled, point)[0].arrays
    for variant in variants:
        progress(f"profile of {variant.name}")
        if not variant.failure and variant.engine.profiled(settings.provider) is not None:
            found[variant.name] = _in_process(variant, settings, arrays, peaks)
    return found


def _in_process(variant: Variant, settings: Settings, arrays: Arrays, peaks: Peaks) -> dict[str, Any]:
    worker: Worker | None = None
    try:
        # without this the runtime does not wait for kernels, and the profile is of their launches
        blocks_by = named(settings.provider).blocks_by
        worker = Worker(variant, settings, {blocks_by: "1"} if blocks_by else None)
        worker.ready()
        return worker.profile(variant, settings, arrays, peaks)
    except VariantFailure as failure:
        return {"failure": str(failure)}
    finally:
        if worker is not None:
            worker.close()


def document(variant: Variant, settings: Settings, arrays: Arrays, peaks: Peaks) -> dict[str, Any]:
    """The profile of one file, as the report holds it. Raises LoadFailure and RunFailure."""
    assert isinstance(variant.source, Path)
    feeds = [fitted(variant.source, arrays)]
    more = variant.engine.profiled(settings.provider) or {}
    measured = profile(variant.source, feeds, threads=settings.threads, **more)
    bound = roofline(variant.source, feeds, peaks, measured=measured, **more)
    return {
        "wall_ms": measured.wall_ms,
        "untraced_ms": measured.untraced_ms,
        "note": measured.note,
        "by": {key: _rows(measured, key) for key in KEYS},
        "roofline": _roofline(bound),
    }


def fitted(path: Path, arrays: Mapping[str, Any]) -> Arrays:
    """The inputs that a file has, in its types."""
    inputs = {str(value.name): value.dtype for value in Model.open(path).graph.inputs}
    found = {}
    for name, array in arrays.items():
        if name in inputs:
            dtype = inputs[name]
            numeric = dtype is not None and array.dtype.kind in "iubf"
            found[name] = array.astype(dtype.numpy()) if numeric and dtype is not None else array
    return found


def _rows(measured: Profile, key: Key) -> list[dict[str, Any]]:
    rows, most = measured.by(key), LAYERS if key == "layer" else SHOWN
    found = [{"name": row.name, "ms": row.ms, "share": row.share, "count": row.nodes} for row in rows[:most]]
    if rest := rows[most:]:
        ms, share, count = (sum(getattr(row, what) for row in rest) for what in ("ms", "share", "nodes"))
        found.append({"name": f"{len(rest)} others", "ms": ms, "share": share, "count": count})
    return found


def _roofline(bound: Roofline) -> dict[str, Any]:
    rates = bound.peaks.flops_per_s
    figures = bound.as_dict()
    return {
        "gflops": rates["fp32"] / 1e9,
        "int8_gops": rates["int8"] / 1e9 if "int8" in rates else None,
        "gbs": bound.peaks.bytes_per_s / 1e9,
        **{name: figures[name] for name in ("flops", "bytes", "bound_ms", "gap")},
        "scopes": [asdict(row) | {"gap": row.gap} for row in bound.scopes[:SHOWN] if row.gap == row.gap],
    }

"""Sweeps: every row of a bench by name, those of ONNX Runtime here and each other engine's in its module."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfix.eval.run.engine import REPAIRED, SEED, SweepRow, all_engines
from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.provenance import Provenance

from .workshop import EXPORTS, Made, Options, Workshop, words

if TYPE_CHECKING:
    from onnxfix.eval.bench.variant import Variant

EXPORTERS = {"legacy": "legacy", "dynamo": "dynamo", "unoptimized": "dynamo, no optimizer"}
SWEEPS = {
    SEED: "torch, and the five conversions of the report that gave up on ONNX, as they were made there",
    REPAIRED: "torch, and what onnxfix repair and onnxfix optimize make of each export",
    "all": "every row",
}


def _file(name: str, export: str, options: Options | None = None, **more: Any) -> SweepRow:
    return SweepRow(name, OnnxRuntime(), export, options or {}, **more)


def _fastest(name: str, export: str, options: Options, **more: Any) -> SweepRow:
    return SweepRow(name, OnnxRuntime(), export, options, verb="optimize", **more)


def _repaired() -> list[SweepRow]:
    rows: list[SweepRow] = []
    both = (REPAIRED,)
    weights = {"int8": "weight-only", "target": "PROVIDER"}
    for export in EXPORTS:
        rows += [
            _file(f"onnx-fp32 ({export}, repaired)", export, {"precision": "fp32"}, sweeps=both),
            _file(f"onnx-fp16 ({export}, repaired)", export, {"precision": "fp16"}, sweeps=both),
            _file(f"onnx-bf16 ({export}, repaired)", export, {"precision": "bf16"}),
            _file(f"onnx-int8 dynamic ({export})", export, {"int8": "dynamic"}, sweeps=both),
            _file(f"onnx-int8 static ({export})", export, {"int8": "static"}, calibrated=True),
            _file(f"onnx-int8 weight-only ({export})", export, weights, sweeps=both),
            _fastest(f"onnx-fp32 fastest ({export})", export, {"precision": "fp32", "target": "PROVIDER"}, sweeps=both),
            _fastest(f"onnx-int8 dynamic, fastest ({export})", export, {"int8": "dynamic"}, sweeps=both),
            _fastest(f"onnx-int8 static, fastest ({export})", export, {"int8": "static"}, calibrated=True),
        ]
    rows += [
        _file("onnx-int8 dynamic, fused (dynamo)", "dynamo", {"int8": "dynamic", "fuse_attention": True}),
        _file("onnx-int4 weight-only (dynamo)", "dynamo", {"int8": "weight-only", "bits": 4, "target": "PROVIDER"}),
        _file("onnx-int8 weight-only, fp16 (dynamo)", "dynamo", {"int8": "weight-only", "precision": "fp16"}),
    ]
    return rows


FILES: tuple[SweepRow, ...] = (
    _file("onnx-fp32 (unoptimized)", "unoptimized", sweeps=(SEED,)),
    _file("onnx-int8 (unoptimized)", "unoptimized", alone="ORT quantize_dynamic", sweeps=(SEED,)),
    _file("onnx-fp32 (legacy)", "legacy", sweeps=(SEED,)),
    _file("onnx-fp16 (legacy)", "legacy", alone="onnxconverter-common", sweeps=(SEED,)),
    _file("onnx-int8 (legacy)", "legacy", alone="ORT quantize_dynamic", sweeps=(SEED,)),
    _file("onnx-fp32 (dynamo)", "dynamo"),
    *_repaired(),
    _file(
        "onnx-fp16 (legacy, onnxconverter-common on our graph)",
        "legacy",
        {"precision": "fp16", "converter": "onnxconverter-common"},
    ),
    _file(
        "onnx-fp16 (legacy, onnxruntime on our graph)",
        "legacy",
        {"precision": "fp16", "converter": "onnxruntime"},
    ),
)


def module_rows() -> list[SweepRow]:
    """Those of the torch module itself."""
    return [row for engine in all_engines() for row in engine.rows() if not row.export]


def rows() -> list[SweepRow]:
    """Every row in the order of the report: the torch module's, files in ONNX Runtime, files in other engines."""
    return [*module_rows(), *FILES, *(row for engine in all_engines() for row in engine.rows() if row.export)]


def rows_of(names: Sequence[str]) -> list[SweepRow]:
    """Rows of the sweeps named, in the order of the report. Raises OnnxfixError for an unknown name."""
    for name in names:
        if name not in SWEEPS:
            raise OnnxfixError(f"no sweep is named '{name}'", f"take one of {', '.join(SWEEPS)}")
    return [row for row in rows() if "all" in names or set(names) & set(row.sweeps)]


def variants(
    names: Sequence[str],
    shop: Workshop,
    source: Provenance,
    provider: str,
    calibration: Callable[[Path], Path],
    progress: Callable[[str], None],
) -> list[Variant]:
    """Every row of the sweeps named, its file made; one that cannot be made holds its reason.

    `calibration` writes real inputs (.npz) of a file for its static int8. `progress` is called once a row.
    """
    made = []
    for row in rows_of(names):
        progress(row.name)
        made.append(_file_variant(row, shop, provider, calibration) if row.export else module_variant(row, source))
    return made


def module_variant(row: SweepRow, source: Provenance) -> Variant:
    """The row on the torch module of the source."""
    from onnxfix.eval.bench.digest import of_checkpoint, of_code
    from onnxfix.eval.bench.variant import Variant
    from onnxfix.export.models.build import load_torch

    factory = functools.partial(load_torch, replace(source, attn=row.engine.attention or source.attn))
    code = of_code(source.factory) if source.factory else ""
    read = of_checkpoint(Path(source.checkpoint) if source.checkpoint else None)
    return Variant(row.name, row.engine, factory, stamp=read + code, needs=source.inputs)


def _file_variant(row: SweepRow, shop: Workshop, provider: str, calibration: Callable[[Path], Path]) -> Variant:
    from onnxfix.eval.bench.variant import Variant

    options = {name: provider if value == "PROVIDER" else value for name, value in row.options.items()}
    # what it is made by, so that rows of one file share it
    verb = "" if row.verb == "repair" else row.verb
    name = "-".join(part.strip("-").replace(" ", "-").lower() for part in (row.alone, verb, *words(options)) if part)
    file = f"{row.export}.{name}" if name else row.export
    try:
        made = _made(row, shop, file, options, calibration)
    except OnnxfixError as error:
        made = Made(shop.folder / f"{file}.onnx", "", error.sentence.marked)
    by = row.alone or ("onnxfix" if row.options else "")
    return Variant(
        row.name,
        row.engine,
        made.path,
        exporter=f"{EXPORTERS[row.export]} + {by}" if by else EXPORTERS[row.export],
        made_by=made.command,
        failure=f"cannot be made: {made.failure}" if made.failure else "",
    )


def _made(row: SweepRow, shop: Workshop, file: str, options: Options, calibration: Callable[[Path], Path]) -> Made:
    if row.alone:
        return shop.convert(row.export, file, row.alone)
    if not options:
        return shop.export(row.export)
    source = shop.export(row.export)
    if row.calibrated and not source.failure:
        options = {**options, "calibrate": calibration(source.path)}
    return shop.repair(row.export, file, options, row.verb)

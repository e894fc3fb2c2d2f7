"""Sweeps: rows of a bench by name, as data: who makes each file, in what it runs, and of which sweeps it is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.provenance import Provenance

from .workshop import EXPORTS, Made, Options, Workshop, words

if TYPE_CHECKING:
    from onnxfix.eval.bench.variant import Variant
    from onnxfix.eval.run.runners import Dtype

EXPORTERS = {"legacy": "legacy", "dynamo": "dynamo", "unoptimized": "dynamo, no optimizer"}
SEED, REPAIRED = "seed", "repaired"
SWEEPS = {
    SEED: "torch, and the five conversions of the report that gave up on ONNX, as they were made there",
    REPAIRED: "torch, and what onnxfix repair makes of each export",
    "all": "every row",
}


@dataclass(frozen=True)
class TorchRow:
    """Torch. `attention`: another implementation than the model's own."""

    name: str
    dtype: Dtype = "fp32"
    attention: str = ""
    compiled: bool = False
    sweeps: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileRow:
    """A file made of an export: by onnxfix repair with `options`, by a converter `alone`, or the export itself.

    The target PROVIDER is the provider of the bench.
    """

    name: str
    export: str
    options: Options = field(default_factory=dict)
    alone: str = ""
    kind: Literal["onnx", "openvino"] = "onnx"
    dtype: Dtype = "fp32"
    provider: Literal["", "tensorrt"] = ""
    calibrated: bool = False
    sweeps: tuple[str, ...] = ()

    def on(self, provider: str) -> Options:
        """The options on a provider."""
        return {name: provider if value == "PROVIDER" else value for name, value in self.options.items()}

    def file(self, provider: str) -> str:
        """Name of the file without its ending: what it is made by, so that rows of one file share it."""
        made = "-".join(part.strip("-") for part in (self.alone, *words(self.on(provider))) if part)
        return ".".join([self.export, *([made.replace(" ", "-").lower()] if made else [])])

    @property
    def engine(self) -> str:
        ours = f"{EXPORTERS[self.export]} + onnxfix" if self.options else EXPORTERS[self.export]
        return f"{EXPORTERS[self.export]} + {self.alone}" if self.alone else ours


def _repaired() -> list[FileRow]:
    rows: list[FileRow] = []
    both = (REPAIRED,)
    weights = {"int8": "weight-only", "target": "PROVIDER"}
    for export in EXPORTS:
        rows += [
            FileRow(f"onnx-fp32 ({export}, repaired)", export, {"precision": "fp32"}, sweeps=both),
            FileRow(f"onnx-fp16 ({export}, repaired)", export, {"precision": "fp16"}, sweeps=both),
            FileRow(f"onnx-bf16 ({export}, repaired)", export, {"precision": "bf16"}),
            FileRow(f"onnx-int8 dynamic ({export})", export, {"int8": "dynamic"}, sweeps=both),
            FileRow(f"onnx-int8 static ({export})", export, {"int8": "static"}, calibrated=True),
            FileRow(f"onnx-int8 weight-only ({export})", export, weights, sweeps=both),
        ]
    rows += [
        FileRow("onnx-int8 dynamic, fused (dynamo)", "dynamo", {"int8": "dynamic", "fuse_attention": True}),
        FileRow("onnx-int4 weight-only (dynamo)", "dynamo", {"int8": "weight-only", "bits": 4, "target": "PROVIDER"}),
        FileRow("onnx-int8 weight-only, fp16 (dynamo)", "dynamo", {"int8": "weight-only", "precision": "fp16"}),
    ]
    return rows


ROWS: tuple[TorchRow | FileRow, ...] = (
    TorchRow("torch fp32", sweeps=(SEED, REPAIRED)),
    TorchRow("torch bf16", "bf16", sweeps=(SEED, REPAIRED)),
    TorchRow("torch bf16 (flash-attention-2)", "bf16", attention="flash_attention_2", sweeps=(SEED, REPAIRED)),
    TorchRow("torch bf16 (compiled)", "bf16", compiled=True),
    TorchRow("torch int8-wo (torchao)", "int8-wo", sweeps=(SEED,)),
    TorchRow("torch int8-dyn (torchao)", "int8-dyn"),
    FileRow("onnx-fp32 (unoptimized)", "unoptimized", sweeps=(SEED,)),
    FileRow("onnx-int8 (unoptimized)", "unoptimized", alone="ORT quantize_dynamic", sweeps=(SEED,)),
    FileRow("onnx-fp32 (legacy)", "legacy", sweeps=(SEED,)),
    FileRow("onnx-fp16 (legacy)", "legacy", alone="onnxconverter-common", sweeps=(SEED,)),
    FileRow("onnx-int8 (legacy)", "legacy", alone="ORT quantize_dynamic", sweeps=(SEED,)),
    FileRow("onnx-fp32 (dynamo)", "dynamo"),
    *_repaired(),
    FileRow(
        "onnx-fp16 (legacy, onnxconverter-common on our graph)",
        "legacy",
        {"precision": "fp16", "converter": "onnxconverter-common"},
    ),
    FileRow(
        "onnx-fp16 (legacy, onnxruntime on our graph)",
        "legacy",
        {"precision": "fp16", "converter": "onnxruntime"},
    ),
    FileRow("openvino fp32 (legacy)", "legacy", kind="openvino"),
    FileRow("openvino bf16 (legacy)", "legacy", kind="openvino", dtype="bf16"),
    FileRow("openvino int8 (legacy, static)", "legacy", {"int8": "static"}, kind="openvino", calibrated=True),
    FileRow("tensorrt fp16 (dynamo)", "dynamo", {"precision": "fp16", "target": "tensorrt"}, provider="tensorrt"),
)


def rows_of(names: Sequence[str]) -> list[TorchRow | FileRow]:
    """Rows of the sweeps named, in the order of the report. Raises OnnxfixError for an unknown name."""
    for name in names:
        if name not in SWEEPS:
            raise OnnxfixError(f"no sweep is named '{name}'", f"take one of {', '.join(SWEEPS)}")
    return [row for row in ROWS if "all" in names or set(names) & set(row.sweeps)]


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
        made.append(_torch(row, source) if isinstance(row, TorchRow) else _file(row, shop, provider, calibration))
    return made


def _torch(row: TorchRow, source: Provenance) -> Variant:
    from onnxfix.eval.bench.variant import Variant, stamp
    from onnxfix.export.models.build import load_torch

    asked = replace(source, attn=row.attention or source.attn)
    factory = functools.partial(load_torch, asked)
    # transformers says so in three lines
    lacks = row.attention == "flash_attention_2" and find_spec("flash_attn") is None
    failure = "does not load: flash-attn is not installed; pip install flash-attn, on a CUDA machine" if lacks else ""
    changes = stamp(Path(source.checkpoint) if source.checkpoint else None)
    return Variant(row.name, "torch", factory, dtype=row.dtype, compiled=row.compiled, failure=failure, stamp=changes)


def _file(row: FileRow, shop: Workshop, provider: str, calibration: Callable[[Path], Path]) -> Variant:
    from onnxfix.eval.bench.variant import Variant

    try:
        made = _made(row, shop, provider, calibration)
    except OnnxfixError as error:
        made = Made(shop.folder / f"{row.file(provider)}.onnx", "", error.sentence.marked)
    return Variant(
        row.name,
        row.kind,
        made.path,
        dtype=row.dtype,
        exporter=row.engine,
        made_by=made.command,
        failure=f"cannot be made: {made.failure}" if made.failure else "",
        provider=row.provider,
    )


def _made(row: FileRow, shop: Workshop, provider: str, calibration: Callable[[Path], Path]) -> Made:
    if row.alone:
        return shop.convert(row.export, row.file(provider), row.alone)
    if not row.options:
        return shop.export(row.export)
    options, source = dict(row.on(provider)), shop.export(row.export)
    if row.calibrated and not source.failure:
        options["calibrate"] = calibration(source.path)
    return shop.repair(row.export, row.file(provider), options)

"""Fill the provenance of an export: checkpoint, versions, labels, sample feeds."""

from __future__ import annotations

import importlib
from pathlib import Path

from onnxfix.eval.inputs.feeds import STEPS, Feed, make_feeds
from onnxfix.export.models.checkpoint import Checkpoint
from onnxfix.export.models.torch_model import TorchModel
from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.provenance import Provenance

from .spec import ExportSpec

PACKAGES = ("torch", "transformers", "onnx", "onnxruntime", "onnxscript")
SAMPLE_FEEDS = 2
SAMPLE_ELEMENTS = 2000  # per feed: two text feeds of 3 x 43 tokens fit, an image does not


def provenance_of(
    spec: ExportSpec,
    torch_model: TorchModel,
    model: Model,
    exporter: str,
    notes: list[str],
    comparison: Comparison | None,
) -> Provenance:
    """Everything `bench` needs to find torch's side again, and a reader to reproduce the export."""
    checkpoint, digest = _checkpoint(spec)
    return Provenance(
        checkpoint=checkpoint,
        checkpoint_sha256=digest,
        factory=spec.factory,
        exporter=exporter,
        attn=torch_model.attn,
        task=spec.task,
        hub=spec.hub,
        layout=spec.layout,
        notes=tuple(notes),
        versions=versions(),
        inputs=tuple(torch_model.input_names),
        outputs=tuple(torch_model.output_names),
        labels=torch_model.labels,
        feeds=tuple(_as_lists(feed) for feed in _samples(model, torch_model)),
        verified=_verified(comparison),
    )


def versions() -> dict[str, str]:
    """Versions of the packages an export depends on; those not installed are left out."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = str(importlib.import_module(package).__version__)
        except ImportError:
            continue
    return found


def _checkpoint(spec: ExportSpec) -> tuple[str, str]:
    if spec.checkpoint is None:
        return "", ""
    path = Path(spec.checkpoint).resolve()
    try:
        return str(path), Checkpoint.open(path).sha256()
    except OnnxfixError:
        if spec.factory:  # a factory may read any format
            return str(path), ""
        raise


def _samples(model: Model, torch_model: TorchModel) -> list[Feed]:
    try:
        steps = make_feeds(model, longest=torch_model.longest, steps=STEPS)
        feeds = (steps or make_feeds(model, longest=torch_model.longest)[:SAMPLE_FEEDS])[-SAMPLE_FEEDS:]
    except OnnxfixError:  # an input nothing can be made up for, exported unverified
        return []
    return [feed for feed in feeds if sum(array.size for array in feed.arrays.values()) <= SAMPLE_ELEMENTS]


def _as_lists(feed: Feed) -> dict[str, object]:
    return {name: array.tolist() for name, array in feed.arrays.items()}


def _verified(comparison: Comparison | None) -> str:
    if comparison is None:
        return "unverified"
    feeds = list(dict.fromkeys(d.feed for d in comparison.differences))
    return f"{comparison.how}: relative L2 {comparison.rel_l2:.2g} on {', '.join(feeds)}"

"""Files that a user names as variants of a bench, with what their own records say of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfix.nouns.errors import OnnxfixError

if TYPE_CHECKING:
    from onnxfix.eval.bench.bench import Opinion, Variant
    from onnxfix.eval.inputs.workload import Workload
    from onnxfix.nouns.model import Model
    from onnxfix.nouns.provenance import Provenance


@dataclass(frozen=True)
class Setup:
    """What to run, and what the reader must know about it."""

    variants: list[Variant]
    workload: Workload
    notes: list[str]
    opinions: dict[str, Opinion] = field(default_factory=dict)
    diagnoses: dict[str, dict[str, Any]] = field(default_factory=dict)


def onnx_variant(path: Path, provenance: Provenance | None, name: str | None = None) -> Variant:
    from onnxfix.eval.bench.bench import Variant
    from onnxfix.eval.run.engines.onnx_runtime import OnnxRuntime

    name = name or (path.name.removesuffix(".onnx") if path.parent == Path() else str(path))
    exporter, verified = (provenance.exporter, provenance.verified) if provenance else ("", "")
    notes = list(provenance.notes) if provenance else []
    if repaired := repair_record(path):
        exporter = f"{exporter} + onnxfix" if exporter else "onnxfix"
        verified = str(repaired.get("verified", ""))
        notes.append(f"passes: {', '.join(map(str, repaired.get('passes', ())))}")
    return Variant(name, OnnxRuntime(), path, exporter=exporter, verified=verified, note="; ".join(notes))


def read_provenance(path: Path) -> Provenance | None:
    """None for a file without any, and for one that cannot be opened: that becomes a row which says why."""
    from onnxfix.nouns.provenance import Provenance

    model = _opened(path)
    return Provenance.read(model.ir) if model else None


def repair_record(path: Path) -> dict[str, Any]:
    """What `onnxfix repair` wrote into a file it made; empty for any other file."""
    from onnxfix.nouns import provenance

    model = _opened(path)
    return provenance.repair_record(model.ir) if model else {}


def _opened(path: Path) -> Model | None:
    from onnxfix.nouns.model import Model

    try:
        return Model.open(path)
    except OnnxfixError:
        return None

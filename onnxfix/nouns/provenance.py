"""Provenance: where an exported model came from, kept in the ONNX file's own metadata so that `bench` finds it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

KEY = "onnxfix.provenance"
REPAIR = "onnxfix.repair"
"""Metadata entry of what repair made: for which target, by which passes, how it was verified."""


@dataclass(frozen=True)
class Provenance:
    """`checkpoint` is an absolute path or empty for a bare factory; `factory` is `module:function` or empty."""

    checkpoint: str = ""
    checkpoint_sha256: str = ""
    factory: str = ""
    exporter: str = ""
    attn: str = ""
    task: str = ""
    """What it was exported for; empty for what the checkpoint's own class returns."""
    hub: str = ""
    """The id and commit on the Hub, where the checkpoint came from there: `org/name@commit`."""
    layout: str = ""
    """The library whose folder it was exported into, which pools by itself; empty for a file alone."""
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    labels: dict[str, list[str]] = field(default_factory=dict)
    """Class names by output, in logit order, where the checkpoint states them."""
    feeds: tuple[dict[str, Any], ...] = ()
    """Sample feeds: input name → nested lists, small enough to read."""
    verified: str = ""
    """How the result was verified, or `unverified`."""

    def write(self, model: ir.Model) -> None:
        model.metadata_props[KEY] = json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def read(model: ir.Model) -> Provenance | None:
        """None when the model carries none or somebody else's text under our key."""
        text = model.metadata_props.get(KEY)
        try:
            raw = json.loads(text) if text else None
        except json.JSONDecodeError:
            return None
        if not isinstance(raw, dict):
            return None
        known = {k: v for k, v in raw.items() if k in Provenance.__dataclass_fields__}
        for name in ("notes", "inputs", "outputs", "feeds"):
            known[name] = tuple(known.get(name, ()))
        return Provenance(**known)


def repair_record(model: ir.Model) -> dict[str, Any]:
    """What repair wrote into a model that it made; empty for any other."""
    try:
        record = json.loads(model.metadata_props.get(REPAIR, "{}"))
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def source_of(model: ir.Model, path: Path | None) -> Path | None:
    """The file that repair made the model at `path` from, where it is still there; None for any other model."""
    said = str(repair_record(model).get("source", ""))
    found = Path(os.path.normpath(path.parent / said)) if path is not None and said else None
    return found if found is not None and found.is_file() and found != path else None


def made_for(model: ir.Model) -> str:
    """The target that repair made a model for; empty for any other model."""
    return str(repair_record(model).get("target", ""))

"""Labels: which output a column of a table is of, and the names of an output's classes."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix.nouns.errors import OnnxfixError, arg

if TYPE_CHECKING:
    from onnxfix.nouns.provenance import Provenance


def labels_of_outputs(labels: dict[str, str], outputs: list[str], classes: Collection[str]) -> dict[str, str]:
    """Labels by the output that they are of. A column alone is of the one output there is, or that has classes."""
    unknown = [head for head in labels if outputs and head not in outputs]
    candidates = [name for name in outputs if name in classes] or outputs
    if unknown and len(labels) == len(candidates) == 1 and labels[unknown[0]] == unknown[0]:
        return {candidates[0]: unknown[0]}
    if unknown:
        column = labels[unknown[0]]
        raise OnnxfixError(
            f"the model has no output '{unknown[0]}' to label; its outputs: {', '.join(outputs)}",
            f"say which with {arg('label', *(f'{output}={column}' for output in outputs[:3]))}",
        )
    return labels


def classes_of(source: Provenance | None, checkpoint: Path | None) -> dict[str, list[str]]:
    """Class names by output, in logit order; empty where neither the file nor the checkpoint states them."""
    from onnxfix.export.models.checkpoint import Checkpoint

    if source is not None and source.labels:
        return source.labels
    with contextlib.suppress(OnnxfixError):
        opened = Checkpoint.open(checkpoint) if checkpoint is not None else None
        return opened.heads or opened.labels if opened is not None else {}
    return {}


def labels_of(given: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Head → column, of `HEAD` and `HEAD=COLUMN`. Raises OnnxfixError."""
    if isinstance(given, Mapping):
        return dict(given)
    found = {}
    for entry in [given] if isinstance(given, str) else given:
        head, equals, column = entry.partition("=")
        if not head or (equals and not column):
            raise OnnxfixError(f"{arg('label', entry)} is not of the form HEAD=COLUMN")
        found[head] = column or head
    return found

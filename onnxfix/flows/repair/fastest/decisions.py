"""What a limit of integers is measured by where nobody said it: by what is kept of the model's answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxfix.flows.inputs import Inputs
    from onnxfix.flows.repair.verification.metric import Metric
    from onnxfix.flows.source import ModelLike


def of_what_it_is_for(model: ModelLike, inputs: Inputs | None, checkpoint: str | Path | None) -> Metric:
    """On texts the class that is chosen, or the direction of outputs that name no classes; else relative L2, as made-up
    tokens choose nothing."""
    from onnxfix.flows.bench.labels import classes_of
    from onnxfix.flows.inputs import table_of
    from onnxfix.flows.source import on_disk
    from onnxfix.nouns.model import Model
    from onnxfix.nouns.provenance import Provenance

    if inputs is None or table_of(inputs, "calibrate") is None:
        return "rel-l2"
    with on_disk(model) as source:
        recorded = Provenance.read(Model.look(source.path).ir)
    folder = checkpoint or (recorded.checkpoint if recorded else None)
    return "argmax" if classes_of(recorded, Path(folder) if folder else None) else "cosine"

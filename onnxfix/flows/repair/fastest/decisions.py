"""What a limit of integers is measured by where nobody said it: by what is kept of the model's answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxfix.flows.inputs import Inputs
    from onnxfix.flows.repair.verification.metric import Metric
    from onnxfix.flows.source import ModelLike


# Outputs that err by so much point the same way to within a cosine of 0.997. A repair writes 0.05; with all linears in
# 8 bits MiniLM errs by 0.11 on sentences and by 0.19 on random tokens, paraphrase-MiniLM by 0.09.
OF_TOKENS = 0.08


def limit_where_unsaid(model: ModelLike, metric: Metric) -> float | None:
    """The largest error of integers by a metric; None where it is the one of a repair. More of relative L2 is for what
    tokens mean alone: a probability that a voice is heard, which errs by 0.07 over many made-up sounds, errs by 0.46 on
    one of them."""
    from onnxfix.flows.source import on_disk
    from onnxfix.nouns.model import Model
    from onnxfix.nouns.types.input_roles import role

    if metric != "rel-l2":
        return None
    with on_disk(model) as source:
        of_tokens = any(role(value) == "ids" for value in Model.look(source.path).graph.inputs)
    return OF_TOKENS if of_tokens else None


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

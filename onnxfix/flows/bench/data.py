"""What `onnxfix bench` runs on: the data named, the demo's own, made-up text, or made-up feeds."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix.nouns.errors import OnnxfixError, arg

from .labels import classes_of, labels_of_outputs

if TYPE_CHECKING:
    import polars as pl
    import torch

    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.eval.inputs.point import Batching
    from onnxfix.eval.inputs.workload import Workload
    from onnxfix.nouns.model import Model
    from onnxfix.nouns.provenance import Provenance

# Of a decoder with a cache: rows, new tokens of each, and tokens before them.
DECODER_STEPS = ((1, 128, 0), (8, 1, 511))


@dataclass(frozen=True)
class Wanted:
    """What to bench, and on what."""

    models: tuple[Path, ...] = ()
    names: Mapping[Path, str] = field(default_factory=dict)
    """What files are called in the report, where not by their path."""
    modules: Mapping[str, torch.nn.Module] = field(default_factory=dict)
    """Torch modules in memory, by their names in the report."""
    checkpoint: Path | None = None
    factory: str = ""
    data: Path | pl.DataFrame | None = None
    text: str = "text"
    labels: Mapping[str, str] = field(default_factory=dict)
    """Head → column of its labels."""
    limit: int | None = None
    max_length: int | None = None
    torch: bool | None = True
    """Rows of torch in fp32 and bf16; None: where the files say what they were exported from."""
    batchings: tuple[Batching, ...] = ("padded",)
    torchao: bool | None = None
    """Rows of torch with int8 linears by torchao; None: where it is installed."""
    sweep: tuple[str, ...] = ()
    provider: str = "cpu"
    output: Path = Path("bench")
    resume: bool = False
    verify: bool = True
    by_length: bool = False
    """Rows of stated lengths are timed, which feeds of fixed ones cannot be."""


def workload(wanted: Wanted, source: Provenance | None, paths: list[Path]) -> Workload:
    """Labelled rows, or made-up ones without --data; a model of the bundled demo brings its own data.

    Raises OnnxfixError for labels without data, data without a tokenizer, and labels of an output the model lacks.
    """
    from onnxfix.eval import demo
    from onnxfix.eval.inputs.text_workload import load_workload

    checkpoint = Path(source.checkpoint) if source and source.checkpoint else None
    classes = classes_of(source, checkpoint)
    labels, data = dict(wanted.labels), wanted.data
    if data is None and checkpoint is not None and checkpoint.resolve() == demo.CHECKPOINT.resolve():
        data, labels = demo.HOLDOUT, labels or {head: head for head in classes}
    if data is None:
        if labels:
            raise OnnxfixError(f"{arg('label')} names columns of a data file", f"give the file with {arg('data')}")
        return _made_up(wanted, source, checkpoint, paths, classes)
    if checkpoint is None:
        raise OnnxfixError(
            "texts need the checkpoint's tokenizer", f"name the checkpoint with {arg('checkpoint', 'DIR')}"
        )
    labels = labels_of_outputs(labels, _outputs(source, paths) or list(classes), classes)
    return load_workload(
        data,
        checkpoint=checkpoint,
        text_column=wanted.text,
        labels=labels,
        classes=classes,
        limit=wanted.limit,
        max_length=wanted.max_length,
        positions=_positions(paths, checkpoint),
    )


def _positions(paths: list[Path], checkpoint: Path | None) -> int | None:
    """Tokens of the longest row that all files have positions for, and the checkpoint."""
    from onnxfix.eval.inputs.graph_limits import longest_sequence
    from onnxfix.export.models.checkpoint import Checkpoint
    from onnxfix.nouns.model import Model

    known: list[int | None] = []
    for path in paths:
        with contextlib.suppress(OnnxfixError):
            known.append(longest_sequence(Model.open(path)))
    with contextlib.suppress(OnnxfixError, TypeError, ValueError):
        stated = Checkpoint.open(checkpoint).config.get("max_position_embeddings") if checkpoint is not None else None
        known.append(int(stated or 0) // 8 * 8)  # as of a table: RoBERTa states two more than it takes
    return min((number for number in known if number), default=None)


def _outputs(source: Provenance | None, paths: list[Path]) -> list[str]:
    """Of the model, as its export recorded them or as the first file that can be read has them."""
    from onnxfix.nouns.model import Model

    if source is not None and source.outputs:
        return list(source.outputs)
    for path in paths:
        with contextlib.suppress(OnnxfixError):
            return [str(value.name) for value in Model.open(path).graph.outputs]
    return []


def _made_up(
    wanted: Wanted,
    source: Provenance | None,
    checkpoint: Path | None,
    paths: list[Path],
    classes: dict[str, list[str]],
) -> Workload:
    """Made-up text where the checkpoint has a tokenizer, else the feeds any of the files can be given."""
    from onnxfix.eval.inputs.feeds import as_feed, make_feeds
    from onnxfix.eval.inputs.text_workload import MADE_UP_ROWS, made_up_text
    from onnxfix.eval.inputs.workload import feed_workload
    from onnxfix.nouns.model import Model

    if steps := _steps(paths):
        return feed_workload(steps, "steps of a decoder")
    if checkpoint is not None:
        rows = min(wanted.limit or MADE_UP_ROWS, MADE_UP_ROWS)
        with contextlib.suppress(OnnxfixError):
            return made_up_text(
                checkpoint,
                classes=classes,
                rows=rows,
                max_length=wanted.max_length,
                positions=_positions(paths, checkpoint),
            )
        if wanted.sweep:
            return _made_up_ids(checkpoint, rows, wanted.max_length)
    reasons = []
    for path in paths:
        try:
            model = Model.open(path)
            if wanted.by_length and (ids := _ids_of(model, wanted.max_length)) is not None:
                return ids
            recorded = [as_feed(model, f"sample {i + 1}", f) for i, f in enumerate(source.feeds if source else ())]
            return feed_workload(recorded, "feeds of the export") if recorded else feed_workload(make_feeds(model))
        except OnnxfixError as error:  # of one broken file; the others have the same inputs
            reasons.append(error)
    if not reasons:
        raise OnnxfixError(
            "there is nothing to make inputs from", f"name texts with {arg('data')} and {arg('checkpoint', 'DIR')}"
        )
    raise reasons[0]


def _steps(paths: list[Path]) -> list[Feed]:
    """A prompt, and a token of each row behind a cache, of the first file that can be given them."""
    from onnxfix.eval.inputs.feeds import make_feeds
    from onnxfix.nouns.model import Model

    for path in paths:
        with contextlib.suppress(OnnxfixError):
            return make_feeds(Model.open(path), steps=DECODER_STEPS)
    return []


def _ids_of(model: Model, max_length: int | None) -> Workload | None:
    """Rows of token ids for a model that takes these and what goes with them; None for any other."""
    from onnxfix.eval.inputs.feeds import required_inputs
    from onnxfix.eval.inputs.graph_limits import longest_sequence, table_rows
    from onnxfix.eval.inputs.text_workload import MAX_LENGTH, made_up_ids
    from onnxfix.eval.inputs.workload import DEFAULTS

    inputs = {str(value.name): value for value in required_inputs(model)}
    rows = table_rows(inputs["input_ids"]) if "input_ids" in inputs else None
    if rows is None or not inputs.keys() <= {"input_ids", *DEFAULTS}:
        return None
    most = min(length for length in (max_length, longest_sequence(model), MAX_LENGTH) if length)
    return made_up_ids(rows, max_length=most)


def _made_up_ids(checkpoint: Path, rows: int, max_length: int | None) -> Workload:
    """Token ids as they come, for a checkpoint whose tokenizer is not there."""
    from onnxfix.eval.inputs.text_workload import MAX_LENGTH, made_up_ids
    from onnxfix.export.models.checkpoint import Checkpoint

    config = Checkpoint.open(checkpoint).config
    if "vocab_size" not in config:
        raise OnnxfixError(f"{checkpoint} has neither a tokenizer nor a vocab_size", "save the tokenizer there")
    longest = min(max_length or MAX_LENGTH, int(config.get("max_position_embeddings") or MAX_LENGTH))
    return made_up_ids(int(config["vocab_size"]), rows=rows, max_length=longest)

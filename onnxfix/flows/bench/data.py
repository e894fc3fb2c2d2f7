"""What `onnxfix bench` runs on: the data named, the demo's own, made-up text, or made-up feeds."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from onnxfix.nouns.errors import OnnxfixError, arg

if TYPE_CHECKING:
    from onnxfix.eval.inputs.workload import Workload
    from onnxfix.nouns.provenance import Provenance


@dataclass(frozen=True)
class Wanted:
    """The options of the command, as given."""

    models: tuple[Path, ...] = ()
    checkpoint: Path | None = None
    factory: str = ""
    data: Path | None = None
    text: str = "text"
    labels: tuple[str, ...] = ()
    limit: int | None = None
    max_length: int | None = None
    no_torch: bool = False
    bucket: bool = False
    torchao: bool | None = None
    """Rows of torch with int8 linears by torchao; None: where it is installed."""
    sweep: tuple[str, ...] = ()
    provider: str = "cpu"
    output: Path = Path("bench")
    resume: bool = False
    no_verify: bool = False

    ASKED: ClassVar = frozenset(
        "checkpoint factory data text labels limit max_length no_torch bucket torchao sweep output resume no_verify"
        .split()
    )  # fmt: skip
    """Those that are options by the same name."""


def workload(wanted: Wanted, source: Provenance | None, paths: list[Path]) -> Workload:
    """Labelled rows, or made-up ones without --data; a model of the bundled demo brings its own data.

    Raises OnnxfixError for labels without data, data without a tokenizer, and labels of an output the model lacks.
    """
    from onnxfix.eval import demo
    from onnxfix.eval.inputs.text_workload import load_workload

    checkpoint = Path(source.checkpoint) if source and source.checkpoint else None
    classes = _classes(source, checkpoint)
    labels = dict(_label(text) for text in wanted.labels)
    data = wanted.data
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
    outputs = source.outputs if source else ()
    for head in labels:
        if outputs and head not in outputs:
            raise OnnxfixError(f"the model has no output '{head}' to label", f"its outputs: {', '.join(outputs)}")
    return load_workload(
        data,
        checkpoint=checkpoint,
        text_column=wanted.text,
        labels=labels,
        classes=classes,
        limit=wanted.limit,
        max_length=wanted.max_length,
    )


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

    if checkpoint is not None:
        rows = min(wanted.limit or MADE_UP_ROWS, MADE_UP_ROWS)
        with contextlib.suppress(OnnxfixError):
            return made_up_text(checkpoint, classes=classes, rows=rows, max_length=wanted.max_length)
        if wanted.sweep:
            return _made_up_ids(checkpoint, rows, wanted.max_length)
    reasons = []
    for path in paths:
        try:
            model = Model.open(path)
            recorded = [as_feed(model, f"sample {i + 1}", f) for i, f in enumerate(source.feeds if source else ())]
            return feed_workload(recorded, "feeds of the export") if recorded else feed_workload(make_feeds(model))
        except OnnxfixError as error:  # of one broken file; the others have the same inputs
            reasons.append(error)
    if not reasons:
        raise OnnxfixError(
            "there is nothing to make inputs from", f"name texts with {arg('data')} and {arg('checkpoint', 'DIR')}"
        )
    raise reasons[0]


def _made_up_ids(checkpoint: Path, rows: int, max_length: int | None) -> Workload:
    """Token ids as they come, for a checkpoint whose tokenizer is not there."""
    from onnxfix.eval.inputs.text_workload import MAX_LENGTH, made_up_ids
    from onnxfix.export.models.checkpoint import Checkpoint

    config = Checkpoint.open(checkpoint).config
    if "vocab_size" not in config:
        raise OnnxfixError(f"{checkpoint} has neither a tokenizer nor a vocab_size", "save the tokenizer there")
    longest = min(max_length or MAX_LENGTH, int(config.get("max_position_embeddings") or MAX_LENGTH))
    return made_up_ids(int(config["vocab_size"]), rows=rows, max_length=longest)


def _classes(source: Provenance | None, checkpoint: Path | None) -> dict[str, list[str]]:
    """Class names by output, in logit order; empty where neither the file nor the checkpoint states them."""
    from onnxfix.export.models.checkpoint import Checkpoint

    if source is not None and source.labels:
        return source.labels
    with contextlib.suppress(OnnxfixError):
        opened = Checkpoint.open(checkpoint) if checkpoint is not None else None
        return opened.heads or opened.labels if opened is not None else {}
    return {}


def _label(text: str) -> tuple[str, str]:
    head, equals, column = text.partition("=")
    if not head or (equals and not column):
        raise OnnxfixError(f"{arg('label', text)} is not of the form HEAD=COLUMN")
    return head, column or head

"""A diagnosis as asked for by keywords, of a file or of a model in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix.nouns.errors import OnnxfixError, arg

from .diagnosis import Diagnosis
from .gate import Gate

if TYPE_CHECKING:
    from onnxfix.flows.inputs import Inputs
    from onnxfix.flows.source import ModelLike
    from onnxfix.nouns.layer_noise import Against
    from onnxfix.nouns.model import Model
    from onnxfix.nouns.process.progress import Advance

ROWS = 128
"""Texts of a table that `against` looks at."""


def diagnose(
    model: ModelLike,
    *,
    target: str | None = None,
    engine: str = "auto",
    batch: int = 64,
    seq: int = 512,
    against: ModelLike | None = None,
    calibrate: Inputs | None = None,
    text: str = "text",
    checkpoint: str | Path | None = None,
    custom_op_library: Sequence[str | Path] = (),
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    max_memcpy: int | None = None,
    max_bytes: int | None = None,
    min_quantized: float | None = None,
    baseline: str | Path | None = None,
    update_baseline: bool = False,
    timeout: float | None = None,
    progress: Advance = lambda step: None,
) -> Diagnosis:
    """Say why a model is slow, wrong or not really quantized on a target, without a GPU.

    `target` is the one that repair made the model for, else cuda. `batch` rows of `seq` tokens are what bytes and
    times are stated for. `against`: the float model that this one was quantized from; both are run, on `calibrate`
    (a path, a polars frame, or feeds) or made-up inputs, and the layers that lose most are named. `timeout`:
    seconds after which it gives up.

    `select` and `ignore` are codes of findings, their first letters or their names: all but those selected, and those
    ignored, are left out. `max_memcpy`, `max_bytes` (of the file with its weights) and `min_quantized` (the share of
    linears, 0 to 1) are budgets; one that is not met makes the report fail. Findings that stand in the file `baseline`
    are accepted and left out; `update_baseline` writes those found into it. Raises OnnxfixError.
    """
    from onnxfix.diagnose.placement.optimised import compiler

    compiler.shared().start()  # its imports run beside ours and beside reading the model
    from onnxfix.diagnose import run
    from onnxfix.flows.advice import addressed, float_original, next_step
    from onnxfix.flows.inputs import checkpoint_of
    from onnxfix.flows.source import on_disk
    from onnxfix.flows.values import at_least, several
    from onnxfix.nouns.model import Model
    from onnxfix.nouns.plan import Sizes
    from onnxfix.nouns.process.deadline import limited
    from onnxfix.nouns.provenance import made_for
    from onnxfix.nouns.runtime.provider import providers
    from onnxfix.nouns.target import Target

    at_least("batch", batch, 1, whole=True)
    at_least("seq", seq, 1, whole=True)
    at_least("timeout", timeout, 0)
    gate = Gate.of(select, ignore, max_memcpy, max_bytes, min_quantized, baseline, update_baseline)
    given = Target.resolve(target, engine) if target is not None else None
    folder = checkpoint_of(checkpoint, progress=progress)
    with on_disk(model) as source, limited("diagnose", timeout, source.bytes, progress) as advance:
        opened = Model.look(source.path, tuple(map(Path, several(custom_op_library))))
        recorded = made_for(opened.ir) if given is None else ""
        where = given or Target.resolve(recorded if recorded in map(str, providers()) else "cuda", engine)
        measured = None if opened.faults else _measured(opened, against, calibrate, text, folder, advance)
        report = run.diagnose(opened, where, advance, Sizes(batch, seq), against=measured)
    path = source.path if source.given is None else None
    original = Path(against) if isinstance(against, str | Path) else float_original(opened, path)
    report = addressed(report, path, opened.custom_op_libraries, original)
    report = replace(report, next_step=next_step(report, opened, path))
    shown = dict(vars(report))
    if recorded == where.provider.name:
        shown["target"] = {**report.target, "from": "the file's record"}
    if source.given is not None:
        shown["model"] = {**report.model, "path": str(source.shown)}
    report = Diagnosis(**shown, files=(*opened.external_files, *opened.custom_op_libraries))
    return gate.judged(report, opened.file_bytes)


def _measured(
    quantized: Model,
    against: ModelLike | None,
    inputs: Inputs | None,
    column: str,
    checkpoint: Path | None,
    progress: Advance,
) -> Against | None:
    """What running it beside its float original shows; None where that was not asked for."""
    if against is None:
        if inputs is not None:
            raise OnnxfixError(
                f"{arg('calibrate')} needs {arg('against')}", "name the float model that this one was made from"
            )
        return None
    from onnxfix.eval.inputs.feeds import STEPS, make_feeds
    from onnxfix.flows.inputs import feeds_of
    from onnxfix.flows.source import on_disk
    from onnxfix.nouns.model import Model

    from .against.against import against as held_against

    libraries = quantized.custom_op_libraries
    with on_disk(against) as source:
        reference = Model.open(source.path, libraries)
        progress("inputs")
        if inputs is None:
            feeds = make_feeds(reference, steps=STEPS) or make_feeds(reference)
        else:
            feeds = feeds_of(inputs, source.path, libraries=libraries, checkpoint=checkpoint, text=column, rows=ROWS)
        return held_against(reference, quantized, feeds, progress)

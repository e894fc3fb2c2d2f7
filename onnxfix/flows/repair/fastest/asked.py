"""The fastest sound graph as asked for by keywords: a repair by its target's recipe, or by what is measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfix.nouns.errors import OnnxfixError, arg

if TYPE_CHECKING:
    from onnxfix.flows.inputs import Feeds, Inputs
    from onnxfix.flows.repair.keywords import Int8, Layout, Precision
    from onnxfix.flows.repair.repaired import Repaired
    from onnxfix.flows.repair.verification.metric import Metric
    from onnxfix.flows.source import ModelLike
    from onnxfix.nouns.process.progress import Advance

    from .names import Name


_LEFT = "attention and rotations stay as they are: what one operator makes of them on a GPU is not verified without one"


def optimize(
    model: ModelLike,
    *,
    output: str | Path | None = None,
    target: str | None = None,
    precision: Precision | None = None,
    int8: Int8 | None = None,
    recipe: Name = "fastest",
    max_seq: int | None = None,
    packed_inputs: bool = False,
    measure: bool = False,
    max_error: float | None = None,
    metric: Metric | None = None,
    label: Sequence[str] | Mapping[str, str] = (),
    feeds: Feeds | None = None,
    calibrate: Inputs | None = None,
    text: str = "text",
    checkpoint: str | Path | None = None,
    layout: Layout | None = None,
    force: bool = False,
    dry_run: bool = False,
    custom_op_library: Sequence[str | Path] = (),
    timeout: float | None = None,
    progress: Advance = lambda step: None,
) -> Repaired:
    """Write a model anew so that it costs what its real tokens cost, verify it against the source, then write it.

    Attention and rotations become one operator each, what is of one token is computed of real tokens alone, local
    attention in blocks of its band, and on a CPU the rest a row at a time; what cannot be says why in the result's
    notes. `target` is cpu where not given, `precision` fp32 on a host and fp16 on a GPU. CUDA gets attention in the
    forms that its fast kernels take, and the notes say which takes each; other GPUs get packed tokens alone. A result
    for OpenVINO is run there as well, where it is installed. `int8` quantizes the linears as well, and keeps those in
    float that would bring the error beyond `max_error`, by the `metric` of `repair`. Where neither is given, the limit
    is of what the model is for: on texts with columns of labels (`label`) half a point of F1, on texts alone another
    class in one row of a hundred, or a cosine of 0.997 of outputs without classes; else a relative L2 of 0.08 where
    tokens come in, and of 0.05 where anything else does.
    `max_seq` is the longest row that the model will get. What of the recipe answers otherwise, as where an output reads
    a token of padding, is left. With `measure` every recipe that is a part of `recipe` is timed on this machine, on
    `calibrate` or `feeds` where they are given, and the fastest whose answers hold is kept. Outputs at
    tokens of padding are 0. A file's result is written beside it, as `model.fastest.onnx`, or to `output`, or into a
    library's folder by `layout`, as that of `repair`. `packed_inputs` are those of `repair`.

    Raises OnnxfixError as `repair` does, with nothing written.
    """
    from onnxfix.flows.inputs import checkpoint_of
    from onnxfix.flows.repair.naming import default_output
    from onnxfix.nouns.process.deadline import command
    from onnxfix.nouns.target import Target
    from onnxfix.surgery.recipes import Wish

    from .decisions import limit_where_unsaid, of_what_it_is_for
    from .kernels import kernels_in_words
    from .measured import by_speed
    from .names import shorter

    on_target = Target.resolve(target or "cpu")
    on = on_target.provider
    chosen = precision or ("fp16" if on.device and not int8 else "fp32")
    if chosen != "fp32" and on.is_host:
        raise OnnxfixError(
            f"{arg('precision', chosen)} is no faster on a CPU: ONNX Runtime computes it in fp32, or not at all",
            f"use {arg('precision', 'fp32')} or {arg('int8', 'dynamic')}, or {arg('target', 'cuda')}",
        )
    if calibrate is not None and not measure and (not int8 or int8 == "weight-only") and chosen == "fp32":
        raise OnnxfixError(
            f"{arg('calibrate')} needs {arg('measure', True)}, or {arg('int8', 'dynamic', 'static')}",
            f"add one, or verify on inputs of your own with {arg('feeds', 'FILE.npz')}",
        )
    checkpoint = checkpoint_of(checkpoint, progress=progress)
    wish: dict[str, Any] = {
        "target": target or "cpu",
        "precision": chosen,
        "int8": int8,
        "max_seq": max_seq,
        "text": text,
    }
    wish |= {"custom_op_library": custom_op_library, "checkpoint": checkpoint}
    inputs = calibrate if int8 != "weight-only" and (int8 or chosen != "fp32") else None
    limit: dict[str, Any] = {"max_error": max_error, "metric": metric, "label": label}
    if int8:
        limit["metric"] = judged_by = metric or ("f1" if label else of_what_it_is_for(model, inputs, checkpoint))
        limit["max_error"] = limit_where_unsaid(model, judged_by) if max_error is None else max_error
    if (
        output is None and layout is None and isinstance(model, str | Path) and Path(model).is_file()
    ):  # by what was asked, not by what won
        output = default_output(Path(model), Wish(on_target, chosen, int8 or "", packed_inputs=packed_inputs), recipe)
    how = {
        **wish,
        **limit,
        "packed_inputs": packed_inputs,
        "output": output,
        "layout": layout,
        "feeds": feeds,
        "calibrate": inputs,
    }
    how |= {"force": force, "dry_run": dry_run, "timeout": timeout, "progress": progress}
    with command("optimize", timeout):
        names: Sequence[tuple[Name, str]] = [(name, "") for name in reversed(shorter(recipe))]
        if measure:
            names = by_speed(model, recipe, wish, calibrate if calibrate is not None else feeds, progress)
        done, notes = _first_sound(model, names, how, measure)
    told = kernels_in_words(done.after) if on.flash else [_LEFT] if on.device else []
    return replace(done, outcome=done.outcome.noted(*notes, *told))


def _first_sound(
    model: ModelLike, names: Sequence[tuple[Name, str]], how: Mapping[str, Any], measure: bool
) -> tuple[Repaired, list[str]]:
    """The first recipe whose result holds, and what is said of it and of those before it. Raises OnnxfixError, that of
    the first, where none does."""
    failed: dict[str, list[str]] = {}
    first: OnnxfixError | None = None
    for name, said in names:
        try:
            done = _within(model, {**how, "recipe": name})
        except OnnxfixError as error:
            first = first or error
            if not (measure or _may_be_sound_in_part(error, how)):
                break
            failed.setdefault(str(error.message), []).append(name)
            continue
        left = [f"faster and left: {', '.join(recipes)}: {why}" for why, recipes in failed.items()]
        return done, [*left, *filter(None, [said])]
    assert first is not None
    raise first


def _may_be_sound_in_part(error: OnnxfixError, how: Mapping[str, Any]) -> bool:
    """Whether less of a recipe may answer as the source does: a token that the source takes from padding is not there
    where tokens are packed, and its runtime may take it. What rounding alone makes is there in any part."""
    from onnxfix.eval.run.runners import RunFailure
    from onnxfix.flows.repair.verification.in_runtime import NotTakenError
    from onnxfix.flows.repair.verification.verdict import AnotherGraphError, DiffersError

    if isinstance(error, NotTakenError | AnotherGraphError | RunFailure):  # a source that fails is another error
        return True
    return isinstance(error, DiffersError) and (not error.rounding or (how["precision"] == "fp32" and not how["int8"]))


def _within(model: ModelLike, how: dict[str, Any]) -> Repaired:
    """A repair, with the linears in float that bring integers within their limit, where they are not at once."""
    from onnxfix.flows.repair.asked import repair
    from onnxfix.flows.repair.verification.verdict import DiffersError
    from onnxfix.nouns.process.scratch import Scratch

    try:
        return repair(model, **how)
    except DiffersError as error:
        if not how["int8"] or not error.rounding:
            raise
    with Scratch() as folder:  # a log that nobody asked for
        return repair(model, **how, search=True, search_log=folder / "search.jsonl")

"""A repair as asked for by keywords, which are named as the command line's: of a file, or of a model in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import keywords
from .keywords import Bits, BlockSize, Converter, Int8, IoTypes, Layout, Like, Precision, Ranges, Recipe, Scripted

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.flows.inputs import Feeds, Inputs, Shapes
    from onnxfix.flows.source import ModelLike
    from onnxfix.nouns.process.progress import Advance

    from .repaired import Repaired
    from .verification.metric import Metric


def repair(
    model: ModelLike,
    *,
    output: str | Path | None = None,
    target: str | None = None,
    precision: Precision | None = None,
    keep_rotary_fp32: bool = True,
    block_op: Sequence[str] = (),
    block_node: Sequence[str] = (),
    block_scope: Sequence[str] = (),
    keep_fp32_like: Sequence[Like] = (),
    converter: Converter = "onnxfix",
    io_types: IoTypes = "keep",
    int8: Int8 | None = None,
    bits: Bits = 8,
    block_size: BlockSize | None = None,
    calibration: Ranges = "minmax",
    migrate_outliers: bool = True,
    fuse_attention: bool = False,
    pack_tokens: bool = False,
    recipe: Recipe | None = None,
    max_seq: int | None = None,
    packed_inputs: bool = False,
    reduce_range: bool = False,
    quantize_heads: bool = False,
    prepare: bool = True,
    max_error: float | None = None,
    feeds: Feeds | None = None,
    input: Shapes = (),
    verify_budget: float | None = None,
    calibrate: Inputs | None = None,
    search: bool = False,
    metric: Metric | None = None,
    label: Sequence[str] | Mapping[str, str] = (),
    search_log: str | Path | None = None,
    text: str = "text",
    checkpoint: str | Path | None = None,
    layout: Layout | None = None,
    verify: bool = True,
    force: bool = False,
    dry_run: bool = False,
    script: Scripted | Sequence[Scripted] = (),
    script_last: Scripted | Sequence[Scripted] = (),
    custom_op_library: Sequence[str | Path] = (),
    timeout: float | None = None,
    progress: Advance = lambda step: None,
) -> Repaired:
    """Repair a model, convert its precision or quantize it; verify the result against it; then write it.

    A file's result is written beside it, as `model.fp16.onnx` or `model.int8-dynamic.onnx`, or to `output`; that of
    a model in memory is `Repaired.model` unless `output` names a file. The source is never changed. `target` is
    cuda, and cpu with `int8` dynamic or static; `precision` is fp16, and fp32 with `int8`. `recipe` says how much of
    the graph is written anew to be faster (`optimize` takes the fastest), for rows of up to `max_seq` tokens. With
    `packed_inputs` the result takes real tokens alone, one behind the other, and `cu_seqlens` and `token_offset` in the
    place of the mask, as `Session` feeds it.
    `calibrate` (a path, a polars frame, or feeds: input name → array) are real inputs, for ranges of int8 and to find
    what half precision harms; `feeds` are verified on. Without them inputs are made up, of the shapes in `input`
    (`"ids=1x128"`, several of these, or name → shape) and as long as `verify_budget` gigabytes of activations allow
    (default: what the machine does). `max_error` is the largest relative L2 error that is still written; of integers
    the largest by `metric`, which is also what `search` goes by: `cosine` is 1 less that, `argmax` the share of rows
    that choose another class, `f1` by how much F1 falls on the labels in columns `label` (`"COLUMN"` or
    `"OUTPUT=COLUMN"`) of `calibrate`. `script`
    are functions of your own (or `FILE.py:FUNCTION`) that take and return an `onnx_graphsurgeon.Graph`, run first;
    `script_last` are run on what repair made. `timeout`: seconds after which it gives up; where it is not given, a
    single run of the model has a minute, and more with large weights. `progress` is told each step.

    `layout`: `output` is a folder as a library loads it, with config and tokenizer of the `checkpoint` (by default the
    one that the model was exported from, or what lies beside it); the file's name in it says what was made.

    Raises OnnxfixError, with nothing written, for input that is no model or that the keywords do not fit, and when the
    result cannot be verified.
    """
    from onnxfix.diagnose.placement.optimised import compiler

    compiler.shared().start()  # its imports run beside ours and beside reading the model
    from onnxfix.flows.advice import addressed
    from onnxfix.flows.bench.labels import labels_of
    from onnxfix.flows.inputs import checkpoint_of, feeds_of, feeds_of_arrays, shapes_of
    from onnxfix.flows.outputs import keep_inputs, path_of
    from onnxfix.flows.source import on_disk
    from onnxfix.flows.values import at_least, several
    from onnxfix.nouns.process.deadline import limited
    from onnxfix.nouns.runtime.provider import providers
    from onnxfix.nouns.target import Target
    from onnxfix.surgery.recipes import Wish
    from onnxfix.surgery.sites.half.block_list import BlockList
    from onnxfix.surgery.sites.half.half_plan import HalfOptions

    from . import repair as job
    from .fastest import names
    from .laid import laid
    from .naming import default_output
    from .verification.source.budget import GB
    from .verification.source.made_up import MadeUp

    keywords.require_known(
        precision=precision, int8=int8, converter=converter, calibration=calibration, metric=metric, bits=bits,
        block_size=block_size, io_types=io_types, keep_fp32_like=keep_fp32_like, recipe=recipe, layout=layout,
    )  # fmt: skip
    at_least("max_error", max_error, 0)
    at_least("verify_budget", verify_budget, 0)
    at_least("max_seq", max_seq, 1)
    labels = labels_of(label)
    judged_by = keywords.metric_of(metric, labels, int8, search, calibrate)
    made_up = MadeUp(int((verify_budget or 0) * GB), shapes_of(input))
    written, log = path_of("output", output), path_of("search_log", search_log)
    read = {"model": model, "feeds": feeds, "calibrate": calibrate, "script": script, "script_last": script_last}
    read |= {"checkpoint": checkpoint, "custom_op_library": custom_op_library}
    keep_inputs({"output": written if layout is None else None, "search_log": log}, read)
    at_least("timeout", timeout, 0)
    libraries = tuple(map(Path, several(custom_op_library)))
    folder = checkpoint_of(checkpoint, progress=progress)
    with on_disk(model) as source, limited("repair", timeout, source.bytes, progress) as progress:
        held: list[Feed] = []
        if calibrate is not None:
            held = feeds_of(
                calibrate,
                source.path,
                libraries=libraries,
                checkpoint=folder,
                text=text,
                rows=keywords.calibration_rows(int8, precision, bool(labels)),
                labels=labels,
            )
        wish = Wish(
            # products of int8 activations are for the CPU: asking for them says where the model shall run
            target=Target.resolve(target or next(each.name for each in providers() if int8 not in each.refuses)),
            precision=precision or ("fp32" if int8 else "fp16"),
            int8=int8 or "",
            bits=bits,
            block_size=block_size or 0,
            inputs=tuple(feed.arrays for feed in keywords.for_ranges(held, labels)) if int8 else (),
            method=calibration,
            migrate=migrate_outliers,
            fuse=fuse_attention,
            pack=pack_tokens,
            max_seq=max_seq or 0,
            packed_inputs=packed_inputs,
            reduce_range=reduce_range,
            heads=quantize_heads,
            prepare=prepare,
            scripts=keywords.scripts(script),
            scripts_last=keywords.scripts(script_last),
            converter=converter,
            half=HalfOptions(
                keep_rotary_fp32=keep_rotary_fp32,
                blocked=BlockList(several(block_op), several(block_node), several(block_scope)),
                keep_like=tuple(dict.fromkeys(several(keep_fp32_like))),
                io_types=io_types,
            ),
        )
        keywords.require_runs(wish)
        wish = names.named(recipe, wish)
        into = laid(layout, written, folder, source, wish, recipe or "", force)
        destination = into.graph if into else written or default_output(source.path, wish, recipe or "")
        beside = into.folder if into else destination
        searched = keywords.search_wish(wish, beside, search, judged_by, max_error, log)
        done = job.repair(
            source.path,
            wish,
            destination,
            check=verify,
            max_error=None if judged_by != "rel-l2" and not int8 else max_error,
            metric=judged_by,
            feeds=feeds_of_arrays(feeds, source.path, libraries),
            calibration=held,
            search=searched,
            checkpoint=folder,
            dry_run=dry_run,
            force=force,
            custom_op_libraries=libraries,
            made_up=made_up,
            into=into,
            in_memory=source.given is not None,
            progress=progress,
        )
        named = done.output or source.path if source.given is None or output is not None else None
        done = replace(done, after=addressed(done.after, named, libraries))
        if source.given is None or output is not None:
            return replace(done, source=source.shown)
        memory = source.alike(done.output) if done.output is not None else None
        return replace(done, source=source.shown, output=None, memory=memory)

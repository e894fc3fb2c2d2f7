"""Repair: diagnose, change a copy, diagnose again, compare with the original, and only then write."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix import __version__
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.provenance import REPAIR
from onnxfix.nouns.report import Report
from onnxfix.nouns.target import Target
from onnxfix.nouns.weights.placing import place
from onnxfix.nouns.weights.writer import append_metadata
from onnxfix.surgery.recipe import Recipe
from onnxfix.surgery.recipes import Wish
from onnxfix.surgery.sites.tokens.packed import interface

from . import destination as destinations
from .attempts.attempts import Attempts
from .attempts.origin import Origin
from .attempts.plans import Plans
from .job import Job
from .naming import default_output
from .repaired import Repaired
from .search.search import SearchWish
from .size_due import due, said
from .verification.check import limit_of
from .verification.metric import Metric
from .verification.source.made_up import MadeUp

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.export.layouts.laid import Laid

# Calibration feeds that are verified on besides the made-up ones.
MORE = 2


def repair(
    source: Path,
    wish: Wish,
    output: Path | None = None,
    *,
    check: bool = True,
    max_error: float | None = None,
    feeds: Sequence[Feed] = (),
    calibration: Sequence[Feed] = (),
    search: SearchWish | None = None,
    checkpoint: Path | None = None,
    dry_run: bool = False,
    force: bool = False,
    custom_op_libraries: tuple[Path, ...] = (),
    made_up: MadeUp | None = None,
    metric: Metric = "rel-l2",
    into: Laid | None = None,
    in_memory: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> Repaired:
    """Repair one model file. Raises OnnxfixError, with nothing written, when the result cannot be verified.

    `feeds`: inputs to verify on instead of made-up ones. `calibration`: real inputs; what half precision harms on them
    stays in fp32, and the first of them are verified on too. `search`: find what to keep for a limit, on these inputs.
    `checkpoint`: the folder whose config names the thetas of rotary frequencies that arrive rounded. `made_up`: how
    inputs are made up where none are given. `metric`: what a limit of integers is measured by. `into`: the
    library's folder that `output` is in. `in_memory`: the file is a temporary one, which no result speaks of.
    """
    from onnxfix.diagnose.run import diagnose

    model = Model.open(source, custom_op_libraries)
    if check and interface.find(model) is not None:
        raise OnnxfixError(
            f"{source.name} takes packed tokens already, which nothing makes up", "name the model that it was made of"
        )
    destination = output or default_output(source, wish)
    destinations.check(destination, source, force)
    model.refuse_overwrite(destination)
    model.refuse_foreign(destination, force)
    progress("diagnose")
    staging = destinations.stage(destination, dry_run) if into is None or dry_run else into.stage()
    with ThreadPoolExecutor(1) as background, staging as folder:
        # a copy: what is compiled for a plan lends its values other weights for a moment
        earlier = background.submit(copy_context().run, _diagnosed, model.clone(), wish.target)
        runs = bool(search or calibration)
        origin = Origin(model, wish, folder / destination.name, progress, checkpoint, runs)
        attempts = Attempts(origin, Plans(wish.target), lambda: earlier.result().plan)
        job = Job(wish, attempts, made_up, metric, limited=max_error is not None)
        if calibration and not wish.int8:
            job.calibrate(calibration)
        answer = job.search(search, calibration or feeds) if search else None
        if check:
            limit = max_error if max_error is not None else limit_of(wish, metric)
            # ranges measured on real inputs say nothing about made-up ones, and what is chosen wants many
            given = feeds or (calibration[: MORE + 1] if wish.int8 else ())
            given = (*feeds, *calibration) if job.metric != "rel-l2" else given
            done, comparisons, verified = job.verified(limit, given, calibration[:MORE] if not wish.int8 else ())
        else:
            asked = replace(job.wish, packed_inputs=wish.packed_inputs)
            done, comparisons, verified = attempts.make(asked), (), "unverified"
        progress("diagnose the result")
        after = diagnose(done.result, wish.target, plan=attempts.plans.of(done.result))
        before = earlier.result()
        source_of = {} if in_memory else _seen_from(source, destination)
        append_metadata(done.result.path, _metadata(done.steps, wish, verified, source_of))
        size = done.result.file_bytes
        written = None if dry_run else destination
        if written and into:
            into.place(done.result.path, done.result.external_files)
        elif written:
            place(done.result.path, done.result.external_files, written, force=force)
    kind, wanted = wish.kind, due(model, wish)
    laid = [*into.notes(done.result), f"{into.name}: {into.loads_of(done.result)}"] if into else []
    outcome = done.outcome.noted(*said(wanted, model.file_bytes, size, wish), *laid)
    return Repaired(
        source, written, kind, done.steps, outcome, before, after, comparisons, verified, model.file_bytes, size,
        answer, wanted,
    )  # fmt: skip


def _diagnosed(model: Model, target: Target) -> Report:
    """A diagnosis in a thread of its own, which then needs its compiler no more."""
    from onnxfix.diagnose.placement.optimised.compiler import shared
    from onnxfix.diagnose.run import diagnose

    try:
        return diagnose(model, target)
    finally:
        shared().stop()


def _seen_from(source: Path, destination: Path) -> dict[str, str]:
    """Where the source lies, from the result's folder: both may move together."""
    try:
        return {"source": Path(os.path.relpath(source.resolve(), destination.resolve().parent)).as_posix()}
    except ValueError:  # another drive
        return {}


def _metadata(steps: Recipe, wish: Wish, verified: str, more: dict[str, str]) -> dict[str, str]:
    passes, target = [p.name for p in steps.passes], str(wish.target.provider)
    text = more | {"version": __version__, "kind": wish.kind, "target": target, "passes": passes, "verified": verified}
    return {REPAIR: json.dumps(text, sort_keys=True)}

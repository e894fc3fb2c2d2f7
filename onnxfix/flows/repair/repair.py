"""Repair: diagnose, change a copy, diagnose again, compare with the original, and only then write."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfix import __version__
from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model, staged
from onnxfix.nouns.process.scratch import Scratch
from onnxfix.nouns.report import Report
from onnxfix.nouns.target import Target
from onnxfix.nouns.weights.placing import place
from onnxfix.nouns.weights.writer import append_metadata
from onnxfix.render.shown import Shown, Summary
from onnxfix.render.table import Column
from onnxfix.surgery.graph_pass import Outcome
from onnxfix.surgery.recipe import Recipe
from onnxfix.surgery.recipes import Wish

from .attempts import KEY, Job
from .naming import default_output
from .search.search import Answer, SearchWish
from .size_due import due, said
from .verification.made_up import MadeUp
from .verification.verification import LIMITS

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed

SCHEMA = "onnxfix.repair/1"
# Calibration feeds that are verified on besides the made-up ones.
MORE = 2


@dataclass(frozen=True, repr=False)
class Repaired(Shown):
    """What a repair did. `output` is None for a dry run and a result that stays in memory; `verified` says in words how
    the result was checked."""

    source: Path
    output: Path | None
    kind: str
    recipe: Recipe
    outcome: Outcome
    before: Report
    after: Report
    comparisons: tuple[Comparison, ...]
    verified: str
    source_bytes: int
    result_bytes: int
    search: Answer | None = None
    due_bytes: int | None = None
    """What the result would take with each weight once and in the type that was asked for; None where unknown."""
    memory: Any = None
    """The result of a model in memory, of the type that was given."""

    def __repr__(self) -> str:
        return f"<Repaired {self.output or self.source} ({self.kind}): {self.verified}>"

    @property
    def model(self) -> Any:
        """The result in memory: of the type that was given, an onnx_ir.Model of a file; None after a dry run."""
        return self.memory if self.output is None else Model.open(self.output).ir

    def findings(self) -> list[tuple[str, int, int]]:
        """What there was and is: severity, code and name of a finding, then the Memcpy; their numbers before and
        after."""
        before, after = (
            Counter(f"{f.severity} {f.code} {f.name}" for f in r.findings) for r in (self.before, self.after)
        )
        found = [(key, before[key], after[key]) for key in dict.fromkeys([*before, *after])]
        return [*found, ("Memcpy nodes", len(self.before.plan.copies), len(self.after.plan.copies))]

    def linears(self) -> tuple[str, str]:
        """How many linears are quantized, before and after: `16 of 18`."""
        before, after = (
            f"{r.quantization['quantized']} of {r.quantization['linears']}" for r in (self.before, self.after)
        )
        return before, after

    def in_short(self) -> Summary:
        rows = [(name, str(before), str(after)) for name, before, after in self.findings()]
        title = f"{self.output or self.source}, {self.kind}, for {self.before.target['provider']}: {self.verified}"
        return Summary.of(
            title,
            ("finding", Column("before", True), Column("after", True)),
            [*rows, ("linears quantized", *self.linears())],
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "source": str(self.source),
            "output": str(self.output) if self.output else None,
            "kind": self.kind,
            "passes": [p.name for p in self.recipe.passes],
            "applicability": self.recipe.applicability.value,
            "changes": dict(Counter(f"{c.pass_name}: {c.verb}" for c in self.outcome.changes)),
            "notes": list(self.outcome.notes),
            "before": self.before.summary(),
            "after": self.after.summary(),
            "findings": [f.as_dict() for f in self.after.findings],
            "quantization": dict(self.after.quantization),
            "comparisons": [c.as_dict() for c in self.comparisons],
            "verified": self.verified,
            "source_bytes": self.source_bytes,
            "result_bytes": self.result_bytes,
            "due_bytes": self.due_bytes,
            "search": self.search.as_dict() if self.search else None,
        }


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
    progress: Callable[[str], None] = lambda step: None,
) -> Repaired:
    """Repair one model file. Raises OnnxfixError, with nothing written, when the result cannot be verified.

    `feeds`: inputs to verify on instead of made-up ones. `calibration`: real inputs; what half precision harms on them
    stays in fp32, and the first of them are verified on too. `search`: find what to keep for a limit, on these inputs.
    `checkpoint`: the folder whose config names the thetas of rotary frequencies that arrive rounded. `made_up`: how
    inputs are made up where none are given.
    """
    from onnxfix.diagnose.run import diagnose

    model = Model.open(source, custom_op_libraries)
    destination = output or default_output(source, wish)
    _check_destination(destination, source, force)
    model.refuse_overwrite(destination)
    model.refuse_foreign(destination, force)
    progress("diagnose")
    with ThreadPoolExecutor(1) as background, _stage(destination, dry_run) as folder:
        # a copy: what is compiled for a plan lends its values other weights for a moment
        earlier = background.submit(copy_context().run, _diagnosed, model.clone(), wish.target)
        runs = bool(search or calibration)
        name = folder / destination.name
        job = Job(model, wish, name, progress, checkpoint, lambda: earlier.result().plan, runs, made_up)
        if calibration and not wish.int8:
            job.calibrate(calibration)
        answer = job.search(search, calibration or feeds) if search else None
        if check:
            limit = max_error if max_error is not None else LIMITS[wish.kind]
            # ranges measured on real inputs say nothing about made-up ones
            given = feeds or (calibration[: MORE + 1] if wish.int8 else ())
            done, comparisons, verified = job.verified(limit, given, calibration[:MORE] if not wish.int8 else ())
        else:
            done, comparisons, verified = job.attempt(wish), (), "unverified"
        progress("diagnose the result")
        after = diagnose(done.result, wish.target, plan=job.plans.of(done.result))
        before = earlier.result()
        append_metadata(done.result.path, _metadata(done.steps, wish, verified))
        size = done.result.file_bytes
        written = None if dry_run else destination
        if written:
            place(done.result.path, done.result.external_files, written, force=force)
    kind, wanted = wish.kind, due(model, wish)
    outcome = Outcome(done.outcome.changes, (*done.outcome.notes, *said(wanted, model.file_bytes, size, wish)))
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


def _check_destination(destination: Path, source: Path, force: bool) -> None:
    """A new file, or an earlier result of ours: nothing that somebody else made is lost without a word."""
    if destination.is_dir():
        raise OnnxfixError(
            f"{destination} is a folder", f"name a file, as in {arg('output', destination / source.name)}"
        )
    if not destination.exists():
        return
    if destination.samefile(source):
        raise OnnxfixError(f"{destination} is the source model", f"give another {arg('output')}")
    if not force and not _is_ours(destination):
        raise OnnxfixError(
            f"{destination} exists and is no result of repair",
            f"use {arg('force', True)}, or give another {arg('output')}",
        )


@contextlib.contextmanager
def _stage(destination: Path, dry_run: bool) -> Iterator[Path]:
    """A folder to write to first: beside the destination, so that moving is one rename, or anywhere for a dry run."""
    if dry_run:
        with Scratch() as folder:
            yield folder
        return
    if not destination.parent.is_dir():
        raise OnnxfixError(f"folder {destination.parent} does not exist", f"create it or give another {arg('output')}")
    with staged(destination.parent) as folder:
        yield folder


def _is_ours(path: Path) -> bool:
    try:
        return KEY in Model.open(path).ir.metadata_props
    except OnnxfixError:
        return False


def _metadata(steps: Recipe, wish: Wish, verified: str) -> dict[str, str]:
    passes, target = [p.name for p in steps.passes], str(wish.target.provider)
    text = {"version": __version__, "kind": wish.kind, "target": target, "passes": passes, "verified": verified}
    return {KEY: json.dumps(text, sort_keys=True)}

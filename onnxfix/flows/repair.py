"""Repair: diagnose, change a copy, diagnose again, compare with the original, and only then write."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix import __version__
from onnxfix.comparison import Comparison
from onnxfix.errors import OnnxfixError
from onnxfix.finding import Applicability
from onnxfix.model import Model
from onnxfix.report import Report
from onnxfix.surgery.graph_pass import Outcome
from onnxfix.surgery.recipe import Recipe
from onnxfix.surgery.recipes import Wish, recipe

if TYPE_CHECKING:
    from onnxfix.eval.feeds import Feed
    from onnxfix.eval.runners import Runner

KEY = "onnxfix.repair"
SCHEMA = "onnxfix.repair/1"
# Largest relative L2 error of any output that is still written. fp16 carries 11 bits (5e-4 a rounding), bf16 8 bits,
# int8 7 bits of each weight channel; ONNX Runtime's fusions differ by up to 2e-6 between equal fp32 graphs.
LIMITS = {"fp32": 2e-6, "fp16": 5e-3, "bf16": 5e-2, "int8": 5e-2}


@dataclass(frozen=True)
class Repaired:
    """What a repair did. `output` is None for a dry run; `verified` says in words how the result was checked."""

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

    def as_dict(self) -> dict[str, object]:
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
        }


def default_output(source: Path, wish: Wish) -> Path:
    """`model.onnx` → `model.fp16.onnx`, beside the input."""
    return source.with_name(f"{source.stem}.{_kind(wish)}.onnx")


def repair(
    source: Path,
    wish: Wish,
    output: Path | None = None,
    *,
    verify: bool = True,
    max_error: float | None = None,
    feeds: Sequence[Feed] = (),
    dry_run: bool = False,
    custom_op_libraries: tuple[Path, ...] = (),
    progress: Callable[[str], None] = lambda step: None,
) -> Repaired:
    """Repair one model file. Raises OnnxfixError, with nothing written, when the result cannot be verified."""
    from onnxfix.diagnose.run import diagnose

    model = Model.open(source, custom_op_libraries)
    destination = output or default_output(source, wish)
    if destination.exists() and destination.samefile(source):
        raise OnnxfixError(f"{destination} is the source model", "name another output with -o")
    progress("diagnose")
    before = diagnose(model, wish.target)
    steps = recipe(wish, model)
    result, outcome = steps.apply(model, progress)
    comparisons: tuple[Comparison, ...] = ()
    verified = "unverified"
    if verify:
        progress("verify")
        limit = max_error if max_error is not None else LIMITS[_kind(wish)]
        comparisons, verified = _verify(model, result, steps, _kind(wish), limit, feeds)
    progress("diagnose the result")
    after = diagnose(result, wish.target)
    written = None if dry_run else result.save(destination, _metadata(steps, _kind(wish), verified))
    size = Model.open(written).file_bytes if written else result.weights_bytes
    return Repaired(
        source, written, _kind(wish), steps, outcome, before, after, comparisons, verified, model.file_bytes, size
    )


def _kind(wish: Wish) -> str:
    return "int8" if wish.int8 else wish.precision


def _metadata(steps: Recipe, kind: str, verified: str) -> dict[str, str]:
    text = {"version": __version__, "kind": kind, "passes": [p.name for p in steps.passes], "verified": verified}
    return {KEY: json.dumps(text, sort_keys=True)}


def _verify(
    model: Model, result: Model, steps: Recipe, kind: str, limit: float, feeds: Sequence[Feed]
) -> tuple[tuple[Comparison, ...], str]:
    from onnxfix.eval.feeds import make_feeds
    from onnxfix.eval.runners import LoadFailure, OrtRunner
    from onnxfix.eval.session import on_disk

    chosen = list(feeds) or make_feeds(model)
    with on_disk(model) as source_path, on_disk(result) as result_path:
        try:
            OrtRunner(source_path, level="none").close()
        except LoadFailure as error:
            raise OnnxfixError(
                f"the source model itself does not load: {error.message}", "see 'onnxfix diagnose', or use --no-verify"
            ) from error
        try:
            OrtRunner(result_path, level="all").close()
        except LoadFailure as error:
            if kind == "bf16" and "Could not find an implementation" in str(error):
                return (), "types and placement only: this machine's CPU provider has no bfloat16 kernels"
            raise OnnxfixError(f"the repaired model does not load: {error.message}", "nothing was written") from error
        comparisons = _compare(source_path, result_path, model, chosen, steps, limit)
    worst = max(c.rel_l2 for c in comparisons)
    if all(c.identical for c in comparisons):
        return comparisons, f"identical outputs on {len(chosen)} feeds, with optimisation off and on"
    how = "on CPU, which computes half precision in fp32" if kind in ("fp16", "bf16") else "on CPU"
    return comparisons, f"relative L2 error at most {worst:.1e} on {len(chosen)} feeds, {how}"


def _compare(
    source: Path, result: Path, model: Model, feeds: Sequence[Feed], steps: Recipe, limit: float
) -> tuple[Comparison, ...]:
    from onnxfix.eval.compare import compare
    from onnxfix.eval.runners import OrtRunner

    comparisons = []
    exact = steps.applicability is Applicability.EXACT
    for level in ("none", "all"):
        libraries = model.custom_op_libraries
        reference = OrtRunner(source, level=level, threads=1, custom_op_libraries=libraries, name="source")
        candidate = OrtRunner(result, level=level, threads=1, custom_op_libraries=libraries, name="repaired")
        _run_once(reference, feeds)
        comparison = compare(reference, candidate, feeds, how=f"ONNX Runtime CPU, optimisation {level}, one thread")
        reference.close()
        candidate.close()
        if exact and level == "none" and not comparison.identical:
            raise OnnxfixError(f"an exact repair changed the outputs by {comparison.rel_l2:.1e}", "please report this")
        if not comparison.within(limit):
            raise OnnxfixError(
                f"the repaired model differs from the source by {_said(comparison)} (limit {limit:g})",
                "nothing was written; keep nodes in fp32 with --block-op or --block-node, or raise --max-error",
            )
        comparisons.append(comparison)
    return tuple(comparisons)


def _run_once(reference: Runner, feeds: Sequence[Feed]) -> None:
    """Fail with the right advice when made-up inputs are what the source itself cannot take."""
    from onnxfix.eval.runners import RunFailure

    try:
        reference.run(feeds[0].arrays)
    except RunFailure as error:
        raise OnnxfixError(error.message, "give inputs that the model takes with --feeds FILE.npz") from error


def _said(comparison: Comparison) -> str:
    worst = max(comparison.differences, key=lambda d: (bool(d.shape_mismatch), d.new_nonfinite, d.rel_l2))
    if worst.shape_mismatch:
        return f"shape in output {worst.output}: {worst.shape_mismatch}"
    if worst.new_nonfinite:
        return f"{worst.new_nonfinite} NaN or infinite values in output {worst.output}"
    return f"a relative L2 error of {worst.rel_l2:.1e} in output {worst.output}"

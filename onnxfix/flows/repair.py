"""Repair: diagnose, change a copy, diagnose again, compare with the original, and only then write."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from onnxfix import __version__
from onnxfix.comparison import Comparison
from onnxfix.errors import OnnxfixError
from onnxfix.finding import Applicability
from onnxfix.model import Model, tensors
from onnxfix.report import Report
from onnxfix.surgery.graph_pass import Outcome
from onnxfix.surgery.recipe import Recipe
from onnxfix.surgery.recipes import Wish, recipe

from .verification import LIMITS, Check, verify

if TYPE_CHECKING:
    from onnxfix.eval.feeds import Feed

KEY = "onnxfix.repair"
SCHEMA = "onnxfix.repair/1"


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
    check: bool = True,
    max_error: float | None = None,
    feeds: Sequence[Feed] = (),
    dry_run: bool = False,
    force: bool = False,
    custom_op_libraries: tuple[Path, ...] = (),
    progress: Callable[[str], None] = lambda step: None,
) -> Repaired:
    """Repair one model file. Raises OnnxfixError, with nothing written, when the result cannot be verified."""
    from onnxfix.diagnose.placement.run import forecast
    from onnxfix.diagnose.run import diagnose

    model = Model.open(source, custom_op_libraries)
    destination = output or default_output(source, wish)
    _check_destination(destination, source, force)
    progress("diagnose")
    before = diagnose(model, wish.target)
    steps = recipe(wish, model, lambda changed: forecast(changed, wish.target))
    result, outcome = steps.apply(model, progress)
    if wish.int8:
        _require_quantized(result)
    elif wish.precision == "fp32" and (halves := _half_weights(result)):
        many = "1 weight is" if halves == 1 else f"{halves:,} weights are"
        note = f"{many} in half precision and will stay so: what rounding took cannot be brought back"
        outcome = Outcome(outcome.changes, (*outcome.notes, note))
    comparisons: tuple[Comparison, ...] = ()
    verified = "unverified"
    if check:
        progress("verify")
        limit = max_error if max_error is not None else LIMITS[_kind(wish)]
        wanted = Check(exact=steps.applicability is Applicability.EXACT, kind=_kind(wish), limit=limit)
        comparisons, verified = verify(model, result, wanted, feeds)
    progress("diagnose the result")
    after = diagnose(result, wish.target)
    written = None if dry_run else result.save(destination, _metadata(steps, _kind(wish), verified))
    graph_bytes = model.file_bytes - model.weights_bytes  # a dry run knows the result's weights only
    size = Model.open(written).file_bytes if written else result.weights_bytes + max(graph_bytes, 0)
    return Repaired(
        source, written, _kind(wish), steps, outcome, before, after, comparisons, verified, model.file_bytes, size
    )


def _check_destination(destination: Path, source: Path, force: bool) -> None:
    """A new file, or an earlier result of ours: nothing that somebody else made is lost without a word."""
    if destination.is_dir():
        raise OnnxfixError(f"{destination} is a folder", f"name a file, as in -o {destination / source.name}")
    if not destination.exists():
        return
    if destination.samefile(source):
        raise OnnxfixError(f"{destination} is the source model", "name another output with -o")
    if not force and not _is_ours(destination):
        raise OnnxfixError(f"{destination} exists and is no result of repair", "use --force, or name another with -o")


def _is_ours(path: Path) -> bool:
    try:
        return KEY in Model.open(path).ir.metadata_props
    except OnnxfixError:
        return False


def _half_weights(model: Model) -> int:
    halves = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    return sum(1 for tensor in tensors(model.ir) if tensor.dtype in halves and tensor.size > 1)


def _require_quantized(result: Model) -> None:
    """A quantization that did nothing is not a result. Raises OnnxfixError with the first reason."""
    from onnxfix.surgery.sites import linears

    found = linears.find(result)
    if any(x.quantized for x in found):
        return
    why = found[0].reason if found else "no MatMul or Gemm has a constant weight"
    where = f"{len(found)} linears were skipped, the first because " if found else ""
    raise OnnxfixError(f"nothing was quantized: {where}{why}", "nothing was written; int8 needs fp32 weights")


def _kind(wish: Wish) -> str:
    return "int8" if wish.int8 else wish.precision


def _metadata(steps: Recipe, kind: str, verified: str) -> dict[str, str]:
    text = {"version": __version__, "kind": kind, "passes": [p.name for p in steps.passes], "verified": verified}
    return {KEY: json.dumps(text, sort_keys=True)}

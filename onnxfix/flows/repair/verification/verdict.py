"""Verdict: whether a comparison is within what was asked, and the one line on one that is not."""

from __future__ import annotations

from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.types.inference import infer

from . import blame
from .check import is_rounding
from .verification import Verification
from .words import advice, in_figures


class AnotherGraphError(OnnxfixError):
    """A graph that was written anew to be faster, and answers otherwise before anything is rounded."""


class DiffersError(OnnxfixError):
    """A result beyond its limit. `rounding`: it is still the source's, which more in float may bring within it."""

    def __init__(self, what: str, advice: str, rounding: bool) -> None:
        super().__init__(what, advice)
        self.rounding = rounding


def require(held: Verification, comparison: Comparison, result: Model, limit: float | None = None) -> None:
    """Raise OnnxfixError unless a comparison is within the limits, or another `limit`; the worst node is named."""
    check = held.check
    largest = check.limit if limit is None else limit
    lost = any(d.new_nonfinite for d in comparison.differences)
    if not lost and len(comparison.never_compared) == len({d.output for d in comparison.differences}):
        raise OnnxfixError(
            "nothing could be compared: no output of the source holds a finite number on these inputs",
            f"give other inputs with {arg('feeds', 'FILE.npz')}, or use {arg('verify', False)}",
        )
    if check.exact and "optimisation none" in comparison.how and not comparison.identical:
        raise OnnxfixError(f"an exact repair changed the outputs by {comparison.rel_l2:.1e}", "please report this")
    if comparison.worst.new_nonfinite and check.kind.startswith("int"):
        _refuse_spread_nan(held, comparison)
    if not check.allows(comparison, largest):
        blamed = _blamed(held, comparison, result)
        figures = in_figures(comparison, check.metric)
        limited = "" if comparison.worst.shape_mismatch else f" (limit {largest:g})"
        raise DiffersError(
            f"the repaired model differs from the source by {figures}{limited}{blamed}",
            advice(comparison, check.kind, check.scheme, check.half and not check.padding),
            is_rounding(comparison),
        )


def require_typed(result: Model) -> None:
    """Every value of a conversion must have one type that its operators take. Raises OnnxfixError for the first not."""
    conflicts = infer(result.ir).conflicts
    if conflicts:
        raise OnnxfixError(f"the conversion left a type conflict: {conflicts[0].message}", "please report this")


def _refuse_spread_nan(held: Verification, comparison: Comparison) -> None:
    """One scale for a whole activation: a single NaN in it makes all of it NaN. Raises OnnxfixError."""
    if held.not_a_number:
        raise OnnxfixError(
            f"the source itself makes {held.not_a_number}; integers take one scale for a whole activation, so that "
            f"{in_figures(comparison)} follow where the source is finite",
            "nothing was written; mask with the lowest finite number and not with -inf in the export, or give inputs "
            f"without such rows with {arg('feeds', 'FILE.npz')}",
        )


def _blamed(held: Verification, comparison: Comparison, result: Model) -> str:
    """What errs most, empty where nothing can be named or an fp32 result is not the source."""
    quantized = held.check.kind.startswith("int")
    if held.check.half and not quantized:
        find, step = blame.half_node, "find the worst node"
    elif comparison.sound and quantized:
        find, step = blame.layers, "find the layers that lose most"
    else:
        return ""
    held.progress(step)
    feed = next((f for f in (*held.feeds, *held.draws) if f.name == comparison.worst.feed), held.feeds[0])
    return find(held.model, result, feed)

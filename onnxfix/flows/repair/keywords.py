"""Keywords of repair: what each may be, and what those that need more than a look become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from onnxfix.export.layouts import layout
from onnxfix.flows.values import one_of, several
from onnxfix.nouns.errors import OnnxfixError, arg

from .fastest import names
from .verification.metric import Metric

if TYPE_CHECKING:
    from onnxfix.eval.inputs.feeds import Feed
    from onnxfix.surgery.graphsurgeon.script import Script
    from onnxfix.surgery.recipes import Wish

    from .search.search import SearchWish

Scripted: TypeAlias = str | Path | Callable[[Any], Any]
Precision = Literal["fp32", "fp16", "bf16"]
Int8 = Literal["dynamic", "static", "weight-only"]
Like = Literal["rotary", "norms", "softmax", "mask"]
IoTypes = Literal["keep", "half"]
Bits = Literal[8, 4]
BlockSize = Literal[32, 64, 128]
Converter = Literal["onnxfix", "onnxconverter-common", "onnxruntime"]
Ranges = Literal["minmax", "entropy", "percentile"]
Recipe = names.Name
Layout = layout.Name

# Texts of a table that a calibration runs on: activations are what is looked at, not answers. Ranges that int8 fixes
# want more of them than a search for what overflows (the bundled model's F1: within 0.008 with 64, 0.002 with 128).
HALF_ROWS, INT8_ROWS = 64, 128
# With labels, whose F1 a single row moves by more the fewer there are.
LABELLED_ROWS = 512
_KNOWN = {
    "precision": Precision, "int8": Int8, "converter": Converter, "calibration": Ranges, "metric": Metric,
    "bits": Bits, "block_size": BlockSize, "io_types": IoTypes, "keep_fp32_like": Like, "recipe": Recipe,
    "layout": Layout,
}  # fmt: skip


def require_known(**given: Any) -> None:
    """Raise OnnxfixError for a keyword, of those that are one word of a few, with another value."""
    for name, value in given.items():
        for each in several(value) if name == "keep_fp32_like" else (value,):
            one_of(name, each, _KNOWN[name])


def require_runs(wish: Wish) -> None:
    """Raise OnnxfixError for a precision that the target's provider loads in no session."""
    if wish.precision in wish.target.provider.refuses:
        why, instead = wish.target.provider.refuses[wish.precision]
        raise OnnxfixError(f"{arg('precision', wish.precision)} does not run {why}", instead)


def metric_of(
    metric: Metric | None, labels: Mapping[str, str], int8: Int8 | None, search: bool, calibrate: Any
) -> Metric:
    """What the limit is measured by: as asked, F1 where there are labels, else relative L2. Raises OnnxfixError."""
    if labels and (calibrate is None or metric not in (None, "f1") or not int8):
        raise OnnxfixError(
            f"{arg('label')} is for {arg('int8', 'dynamic', 'static')} whose limit is {arg('metric', 'f1')}, "
            f"on a table given with {arg('calibrate')}",
            "give all of these, or leave it out",
        )
    if metric not in (None, "rel-l2") and not (int8 or search):
        raise OnnxfixError(f"{arg('metric')} needs {arg('int8')} or {arg('search', True)}", "add one, or leave it out")
    return metric or ("f1" if labels else "rel-l2")


def calibration_rows(int8: Int8 | None, precision: Precision | None, labelled: bool) -> int:
    """How many texts a calibration runs on. Raises OnnxfixError where there is nothing to calibrate."""
    if int8 == "weight-only" or (not int8 and precision == "fp32"):
        fitting = f"{arg('precision', 'fp16', 'bf16')}, or {arg('int8', 'static', 'dynamic')}"
        raise OnnxfixError(f"{arg('calibrate')} needs {fitting}", "leave it out")
    return (LABELLED_ROWS if labelled else INT8_ROWS) if int8 else HALF_ROWS


def for_ranges(feeds: Sequence[Feed], labels: Mapping[str, str]) -> Sequence[Feed]:
    """Those of the calibration that ranges are taken from: labels want more rows than ranges do."""
    return feeds[: INT8_ROWS // len(next(iter(feeds[0].arrays.values())))] if labels and feeds else feeds


def scripts(given: Scripted | Sequence[Scripted]) -> tuple[Script, ...]:
    from onnxfix.flows.values import several
    from onnxfix.surgery.graphsurgeon.script import Script

    return tuple(Script.of(each) if callable(each) else Script.load(str(each)) for each in several(given))


def search_wish(
    wish: Wish, destination: Path, asked: bool, metric: Metric, limit: float | None, log: Path | None
) -> SearchWish | None:
    """What to search for, None where that was not asked for. Raises OnnxfixError."""
    from onnxfix.surgery.passes.convert_to_half import HALVES

    from .search.search import SearchWish
    from .verification.check import limit_of

    if not asked:
        if log:
            raise OnnxfixError(f"{arg('search_log')} needs {arg('search', True)}", "add it, or leave it out")
        return None
    if not wish.int8 and wish.precision not in HALVES:
        raise OnnxfixError(
            f"{arg('search', True)} needs {arg('precision', 'fp16', 'bf16')}, or {arg('int8')}", "leave it out"
        )
    if not wish.prepare:
        raise OnnxfixError(
            f"{arg('search', True)} needs a graph that is prepared", f"leave {arg('prepare', False)} out"
        )
    named = log or destination.with_name(f"{destination.name}.search.jsonl")
    return SearchWish(limit if limit is not None else limit_of(wish, metric), metric, named)

"""What is said of a comparison: how a result was verified, what is wrong with it, what to do about that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.errors import Sentence, arg
from onnxfix.nouns.site import Site
from onnxfix.nouns.types.counts import plural

from .check import is_rounding
from .metric import Metric, judged, metric_error

if TYPE_CHECKING:
    from .check import Check
    from .verification import Verification

# Twice what 8 bits may lose: from here on a quantized result is said to be rough.
ROUGH = 0.1
# What sums of shares may lack of a whole number.
_WHOLE = 1e-6
# Errors that are still a rough rounding somebody may want: twice the limits; 4 bits a weight have a wide one.
ACCEPTABLE = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 0.1, "int8": 0.1, "int4": 0.3}


def in_words(comparisons: Sequence[Comparison], held: Verification, also: str = "") -> str:
    """How a result was verified, in one sentence; `also`: in what runtime besides, or why not."""
    how = f"on CPU{also}"
    if held.check.half:
        ran = len(comparisons) > 1
        how = "every node rounded to its type" + (", and on CPU" if ran else "; no session could run it on this CPU")
    on = plural(len(held.feeds), "feed")
    silent = sorted({name for c in comparisons for name in c.never_compared})
    but = f"; never finite and so not compared: {', '.join(silent)}" if silent else ""
    if held.drawing:
        drawn = f"{Site.of_node(held.drawing[0])}{' and others' * (len(held.drawing) > 1)}"
        but += f"; with the same random numbers of {drawn} in both"
    but += held.shortened + _left_out(held)
    if all(c.identical for c in comparisons):
        return f"identical outputs on {on}, with optimisation off and on, {how}{but}"
    mean = held.check.kind.startswith("int")
    each = [d.rel_l2 for c in comparisons for d in c.differences if not (mean and d.draws)]
    error = f"relative L2 error at most {max(each):.1e}"
    error = f"{_by_metric(comparisons, held.check)}{error}"
    return f"{error}{_meaning(comparisons, held.check)} on {on}{_drawn(comparisons, held.check)}, {how}{but}"


def _left_out(held: Verification) -> str:
    """Tokens of padding, and answers of rows that are taken from one."""
    return "; padding not compared" if held.leaves_padding_out or any(feed.rows for feed in held.feeds) else ""


def _drawn(comparisons: Sequence[Comparison], check: Check) -> str:
    """Of small feeds beside the large ones; where integers are, theirs is a mean."""
    of_draws = [d for c in comparisons for d in c.differences if d.draws]
    if not of_draws:
        return ""
    if not check.kind.startswith("int"):
        return f" and {of_draws[0].draws} draws"
    return f", {max(d.rel_l2 for d in of_draws):.1e} over {of_draws[0].draws} draws"


def _meaning(comparisons: Sequence[Comparison], check: Check) -> str:
    """Of quantized weights: the limit, and in how many rows of an output the largest entry is still the same one."""
    if check.kind not in ("int8", "int4"):
        return ""
    shares = [_choices(c, output) for c in comparisons for output in dict.fromkeys(d.output for d in c.differences)]
    same, of = min((share for share in shares if share[1]), key=lambda share: share[0] / share[1], default=(0, 0))
    rows = "all rows" if same == of else f"{same:,} of {plural(of, 'row')}"
    agree = f"argmax agrees in {rows}" if of else ""
    limit = f"limit {check.limit:g}" if check.metric == "rel-l2" else ""
    both = "; ".join(filter(None, (limit, agree)))
    return f" ({both})" if both else ""


def _by_metric(comparisons: Sequence[Comparison], check: Check) -> str:
    """What the limit is of, where that is no error of numbers: of the comparison that errs most by it."""
    if check.metric == "rel-l2":
        return ""
    worst = max(comparisons, key=lambda c: metric_error(c, check.metric))
    return f"{in_measure(worst, check.metric)} (limit {check.limit:g}); "


def in_measure(comparison: Comparison, metric: Metric) -> str:
    """The error of a sound comparison by a metric other than relative L2, in words."""
    if metric == "cosine":
        return f"cosine at least {1 - metric_error(comparison, metric):.4f}"
    found = judged(comparison, metric)
    where = f"in {plural(found.rows, 'row')} of output {found.output}"
    if metric == "argmax":
        return f"another class in {found.error:.2%} {where.replace('in ', 'of ', 1)}"
    if found.before is None:
        return f"macro F1 {found.after:.4f} against the source's choices {where}"
    return f"macro F1 {found.before:.4f} → {found.after:.4f} by the labels {where}"


def _choices(comparison: Comparison, output: str) -> tuple[int, int]:
    """In how many rows of all feeds an output's largest entry is the same one, and how many there are: of a feed of one
    row a share says nothing."""
    found = [d for d in comparison.differences if d.output == output and d.argmax_agreement is not None]
    rows = [math.prod(d.shape[:-1]) * max(d.draws, 1) for d in found]
    same = sum((d.argmax_agreement or 0.0) * n for d, n in zip(found, rows, strict=True))
    return int(same + _WHOLE), sum(rows)


def rough(comparisons: Sequence[Comparison], check: Check) -> tuple[str, ...]:
    """A warning on an error that is within the limit of 4 bits, or of a metric, and that nobody would call right."""
    error = max((c.rel_l2 for c in comparisons), default=0.0)
    if (check.kind != "int4" and check.metric == "rel-l2") or error <= ROUGH:
        return ()
    advice = f"{arg('bits', 8)}, a smaller {arg('block_size')}, or {arg('search', True)} on real inputs err less"
    return (Sentence(f"warning: the result errs by {100 * error:.0f} % of its size; {advice}"),)


def in_figures(comparison: Comparison, metric: Metric = "rel-l2") -> str:
    """What is wrong with the worst output of a comparison."""
    worst = comparison.worst
    if worst.shape_mismatch:
        return f"shape in output {worst.output}: {worst.shape_mismatch}"
    if worst.new_nonfinite:
        return f"{worst.new_nonfinite} NaN or infinite values in output {worst.output}"
    if metric != "rel-l2" and is_rounding(comparison):
        return in_measure(comparison, metric)
    where = f"over {worst.draws} draws" if worst.draws else f"on the {worst.feed} feed"
    return f"a relative L2 error of {worst.rel_l2:.1e} in output {worst.output} {where}"


def advice(comparison: Comparison, kind: str, scheme: str = "", anew: bool = False) -> str:
    """What to do about an error of a result of a kind of precision, of a scheme of quantization, and of a graph that
    was written `anew` for a GPU, in which no node is there by its name. A larger limit is
    advised for an error that is rounding and that somebody may want, what to keep in float for one that is too much of
    it, and neither where another answer came out."""
    name = arg("block_node")
    acceptable = comparison.sound and comparison.rel_l2 <= ACCEPTABLE[kind]
    if kind in ("fp16", "bf16") and anew:
        return "nothing was written; repair without a recipe keeps attention as written, and in fp32 what half harms"
    if kind in ("fp16", "bf16"):
        ways = [f"{arg('calibrate', 'FILE')} and {arg('search', True)} keep what half precision harms"]
        ways += [f"{name} what you name", *([f"or raise {arg('max_error')}"] if acceptable else [])]
        return f"nothing was written; {', '.join(ways)}"
    if comparison.worst.shape_mismatch and kind != "fp32":
        keep = f"{name} keeps in float what decides how many entries an output has"
        return f"nothing was written; rounding may move a number across a comparison: {keep}"
    if not is_rounding(comparison) or (kind == "fp32" and not acceptable):
        return f"nothing was written; no rounding errs so much: keep nodes in float with {name}, or report it"
    if acceptable:
        return f"nothing was written; raise {arg('max_error')} or keep nodes with {name}"
    finer = f"{arg('int8', 'weight-only')} rounds weights alone"
    if scheme == "weight-only":
        finer = f"{arg('bits', 8)} or a smaller {arg('block_size')} errs less" if kind == "int4" else ""
        finer = finer or f"a smaller {arg('block_size')} errs less"
    keep = f"{arg('search', True)} keeps in float the few layers that need it, {name} what you name"
    return f"nothing was written; this is more than rounding is worth: {keep}, and {finer}"

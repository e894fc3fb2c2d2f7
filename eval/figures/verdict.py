"""Verdicts: what the figures of a row amount to, in words. Every threshold of a bench is in this file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnxfix.render.words import listed

from .pace import between, is_known, is_surely_slower, is_tied, pace, reversed_pace
from .row import BenchRow, HeadFigures


@dataclass(frozen=True)
class Thresholds:
    """When a difference counts. Ratios are of the two figures; F1 and agreement are absolute."""

    same_f1: float = 0.005
    """F1 this close is the same: 6 of 1,200 rows."""
    collapse_f1: float = 0.10
    """A loss of F1 beyond this is a collapse, not a price."""
    same_agreement: float = 0.99
    """Without labels: classes equal to the reference's on fewer rows mean other answers."""
    same_rel_l2: float = 0.05
    """Without classes: a larger relative L2 error means other outputs (bfloat16 itself makes about 0.01)."""
    clear_ratio: float = 0.95
    """Less than this share of the other's time is clearly less, where the interval ends below 1: a tie otherwise."""
    clear_rounds: float = 0.8
    """Faster also means faster in this share of the rounds that ran next to each other."""
    clear_bytes: float = 0.8
    """Less than this share of the other's memory or size is clearly less."""
    slack_mb: float = 10.0
    """Memory this close is the same, whatever the ratio: allocators and page counts differ by that."""
    notable_slowdown: float = 1.5
    """From here a slower row says how much."""


THRESHOLDS = Thresholds()
LONGEST = 160  # characters; a longer failure is cut in the table


def judged(rows: Sequence[BenchRow], baseline: str, reference: str, t: Thresholds = THRESHOLDS) -> tuple[BenchRow, ...]:
    """The rows with what they amount to: `result`, `sound` and `dominated_by`. The names are of variants."""
    wanted = next((row for row in rows if row.variant == reference), None)
    found = []
    for row in rows:
        wrong = "" if row.failure else _wrong(row, wanted, reference, t)
        good = row.measured and not row.defect and not wrong
        dominator = _dominator(row, rows, reference, wanted, t) if good else None
        said = _shortened(row) if row.failure else _sentence(row, rows, wrong, dominator, baseline, reference, t)
        if row.elsewhere and not row.failure:
            said = f"{said}; {row.elsewhere}"
        by = dominator.variant if dominator is not None else ""
        found.append(replace(row, result=said, sound=good, dominated_by=by))
    return tuple(found)


def fastest(rows: Sequence[BenchRow]) -> list[BenchRow]:
    """Of the rows that may be deployed and that none dominates the one of the lowest time, and behind it all those of
    which nothing shows that they are slower."""
    found = sorted((row for row in rows if row.sound and not row.dominated_by), key=lambda row: row.ms_per_sample)
    return [row for row in found if row is found[0] or not is_surely_slower(row, found[0])]


def which_is_fastest(found: Sequence[BenchRow]) -> str:
    """Of `fastest`, in words: the one, those that are tied, or those that no interval tells apart."""
    if not found:
        return "no variant may be deployed"
    names = listed([row.variant for row in found])
    if len(found) == 1:
        return f"fastest sound variant: {names}"
    known = all(is_known(pace(row, found[0])) for row in found[1:])
    return f"fastest sound variants, tied: {names}" if known else f"sound variants, none known to be faster: {names}"


def _shortened(row: BenchRow) -> str:
    """A runtime's message may fill a page: all of it stands in the row's `failure`."""
    said = f"{row.failure} ({row.defect})" if row.defect else row.failure
    if len(said) <= LONGEST:
        return said
    tail = f" … ({row.defect})" if row.defect else " …"
    return row.failure[: LONGEST - len(tail)].rstrip() + tail


def _sentence(
    row: BenchRow,
    rows: Sequence[BenchRow],
    wrong: str,
    dominator: BenchRow | None,
    baseline: str,
    reference: str,
    t: Thresholds,
) -> str:
    if wrong:
        return f"{wrong} ({row.defect})" if row.defect else wrong
    if row.defect:
        return row.defect
    base = next((other for other in rows if other.variant == baseline), None)
    if row.variant == baseline:
        return "the baseline"
    if dominator is not None:
        return f"dominated by {dominator.variant}: {_compared(row, dominator, t)}"
    role = "the reference" if row.variant == reference else "works"
    if base is None or not base.measured:
        return role
    by = pace(row, base)
    if faster(row, base, t):
        speed = reversed_pace(by)
        return f"faster than {baseline}{_at_same_f1(row, base, t)} ({speed.value:.1f}x, {between(speed)})"
    if is_tied(by):
        return f"{role}, tied with {baseline} in time ({by.value:.2f} of it, {between(by)})"
    if by.value >= t.notable_slowdown and by.low > 1:
        return f"{role}, {by.value:.1f}x slower than {baseline} ({between(by)})"
    return role


def faster(row: BenchRow, other: BenchRow, t: Thresholds = THRESHOLDS) -> bool:
    """Clearly lower median, with an interval that ends below 1, and lower in most rounds: one disturbed round decides
    nothing."""
    to_baseline = bool(row.round_ratios and other.round_ratios)
    rounds = (row.round_ratios, other.round_ratios) if to_baseline else (row.round_ms, other.round_ms)
    pairs = list(zip(*rounds, strict=False))
    wins = sum(mine < theirs for mine, theirs in pairs)
    by = pace(row, other)
    return by.value < t.clear_ratio and by.high < 1 and wins >= t.clear_rounds * len(pairs)


def _wrong(row: BenchRow, reference: BenchRow | None, name: str, t: Thresholds) -> str:
    if row.nonfinite_rows:
        return f"NaN or infinite outputs in {row.nonfinite_rows:,} rows"
    if reference is None or row is reference:
        return ""
    losses = {h: reference.heads[h].f1 - f.f1 for h, f in row.heads.items() if h in reference.heads}
    losses = {head: loss for head, loss in losses.items() if math.isfinite(loss)}  # a head without labels has no F1
    if losses:
        head = max(losses, key=lambda h: losses[h])
        if losses[head] > t.same_f1:
            return _loss(head, reference.heads[head].f1, row.heads[head], t)
        return ""
    if row.agreement_with_reference < t.same_agreement:
        return f"other answers: the classes of {name} on {row.agreement_with_reference:.1%} of rows"
    if math.isnan(row.agreement_with_reference) and row.rel_l2_logits > t.same_rel_l2:
        return f"other outputs: relative L2 error {row.rel_l2_logits:.2g} against {name}"
    return ""


def _loss(head: str, before: float, after: HeadFigures, t: Thresholds) -> str:
    """A loss whose interval holds 0 may be none, and a row is not sound for that."""
    below = after.below
    word = "accuracy collapse" if before - after.f1 > t.collapse_f1 else "loses accuracy"
    word, more = ("may lose accuracy", "; more rows would tell") if below.high >= 0 else (word, "")
    interval = "" if math.isnan(below.low) else f" (95 % {below.low:+.4f} … {below.high:+.4f}{more})"
    return f"{word}: {head} F1 {_f1s(before, after.f1)}{interval}"


def _f1s(before: float, after: float) -> str:
    digits = 2 if abs(before - after) >= 0.02 else 4
    return f"{before:.{digits}f} → {after:.{digits}f}"


def _dominator(
    row: BenchRow, rows: Sequence[BenchRow], name: str, reference: BenchRow | None, t: Thresholds
) -> BenchRow | None:
    """The fastest sound row that is no worse in time, memory, size and F1, and clearly faster or smaller in memory."""
    sound = [o for o in rows if o is not row and o.measured and not o.defect and not _wrong(o, reference, name, t)]
    better = [o for o in sound if _no_worse(o, row, t) and (faster(o, row, t) or _leaner(o, row, t))]
    return min(better, key=lambda o: pace(o, row).value, default=None)


def _no_worse(one: BenchRow, other: BenchRow, t: Thresholds) -> bool:
    by = pace(one, other)
    return (
        is_known(by)
        and by.value <= 1 / t.clear_ratio
        and not faster(other, one, t)
        and not _leaner(other, one, t)
        and not other.size_mb < t.clear_bytes * one.size_mb
        and all(one.heads[h].f1 >= f.f1 - t.same_f1 for h, f in other.heads.items() if h in one.heads)
    )


def _leaner(one: BenchRow, other: BenchRow, t: Thresholds) -> bool:
    """Clearly less memory."""
    mine, theirs = one.main_memory_mb, other.main_memory_mb
    return mine < t.clear_bytes * theirs and mine < theirs - t.slack_mb


def _compared(row: BenchRow, better: BenchRow, t: Thresholds) -> str:
    by, parts = pace(row, better), []
    if faster(better, row, t):
        parts.append(f"{by.value:.1f}x slower ({between(by)})")
    if _leaner(better, row, t):
        tied = f" in a tied time ({between(by)})" if is_tied(by) else ""
        parts.append(f"{row.main_memory_mb / max(better.main_memory_mb, 1.0):.1f}x the memory{tied}")
    return ", ".join(parts)


def _at_same_f1(row: BenchRow, base: BenchRow, t: Thresholds) -> str:
    heads = [h for h in row.heads if h in base.heads]
    same = all(abs(row.heads[h].f1 - base.heads[h].f1) <= t.same_f1 for h in heads)
    return " at the same F1" if heads and same else ""

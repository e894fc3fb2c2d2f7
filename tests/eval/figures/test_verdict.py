"""Verdicts from figures: what counts as the same, a collapse, faster, dominated."""

from dataclasses import replace

import pytest

from onnxfix.eval.figures.latency import Interval
from onnxfix.eval.figures.row import BenchRow, HeadFigures
from onnxfix.eval.figures.verdict import fastest, judged, which_is_fastest

BASE = BenchRow(
    "torch bf16", "torch", "bf16", size_mb=800, ms_per_sample=10.0, ms_low=9.9, ms_high=10.1, round_ms=(10.0,) * 5,
    memory_mb=1000,
    heads={"category": HeadFigures(0.93, 0.94)}, agreement=1.0, rel_l2_logits=0.01,
)  # fmt: skip
FP32 = replace(
    BASE, variant="torch fp32", dtype="fp32", size_mb=1600, ms_per_sample=20.0, ms_low=19.8, ms_high=20.2,
    round_ms=(20.0,) * 5, memory_mb=2000,
)  # fmt: skip


def _row(name: str = "model", f1: float = 0.93, ms: float = 10.0, **figures: object) -> BenchRow:
    times = {"ms_per_sample": ms, "ms_low": 0.99 * ms, "ms_high": 1.01 * ms, "round_ms": (ms,) * 5}
    row = replace(BASE, variant=name, kind="onnx", **times)
    figures = {"heads": {"category": HeadFigures(f1, f1)}, **figures}
    return replace(row, **figures)  # type: ignore[arg-type]


def _judged(row: BenchRow, *others: BenchRow) -> BenchRow:
    return judged([FP32, BASE, row, *others], "torch bf16", "torch fp32")[2]


def _verdict(row: BenchRow, *others: BenchRow) -> str:
    return _judged(row, *others).result


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (_row(), "works, tied with torch bf16 in time (1.00 of it, 95 % 0.98 … 1.02)"),
        (_row(ms=5.0), "faster than torch bf16 at the same F1 (2.0x, 95 % 1.96 … 2.04)"),
        (_row(ms=9.7), "works"),
        (_row(ms=5.0, round_ms=(5.0, 11.0, 11.0, 5.0, 5.0)), "works"),
        (_row(f1=0.926, ms=5.0), "faster than torch bf16 at the same F1 (2.0x, 95 % 1.96 … 2.04)"),
        (_row(f1=0.92, ms=5.0), "loses accuracy: category F1 0.9300 → 0.9200"),
        (_row(f1=0.40, ms=1.0), "accuracy collapse: category F1 0.93 → 0.40"),
        (_row(ms=78.0), "dominated by torch bf16: 7.8x slower (95 % 7.65 … 7.96)"),
        (_row(ms=30.0, size_mb=400), "works, 3.0x slower than torch bf16 (95 % 2.94 … 3.06)"),
        (_row(memory_mb=3000), "dominated by torch bf16: 3.0x the memory in a tied time (95 % 0.98 … 1.02)"),
        (_row(ms=15.0, memory_mb=500), "works, 1.5x slower than torch bf16 (95 % 1.47 … 1.53)"),
        (_row(nonfinite_rows=37), "NaN or infinite outputs in 37 rows"),
        (_row(failure="does not load: no kernel"), "does not load: no kernel"),
        (_row(heads={}, agreement_with_reference=0.61), "other answers: the classes of torch fp32 on 61.0% of rows"),
        (_row(heads={}, rel_l2_logits=0.3), "other outputs: relative L2 error 0.3"),
    ],
)
def test_verdict(row: BenchRow, expected: str) -> None:
    assert _verdict(row).startswith(expected)


def test_a_wrong_row_dominates_nobody() -> None:
    assert _verdict(_row(), _row("wrong", f1=0.4, ms=1.0)).startswith("works, tied")
    assert _verdict(_row(), _row("right", ms=1.0)) == "dominated by right: 10.0x slower (95 % 9.80 … 10.20)"


def test_a_row_with_a_defect_dominates_nobody() -> None:
    flawed = _row("flawed", ms=1.0, defect="no-op: 2 of 18 linears in int8 (Q002)")
    assert _verdict(_row(), flawed).startswith("works, tied")
    assert not _judged(flawed).sound and _judged(flawed).result == flawed.defect


def test_the_best_is_the_fastest_that_may_be_deployed() -> None:
    """Of two as fast as each other the one that needs less memory; never one that is wrong, flawed or failed."""
    lean = _row("lean", ms=5.0, memory_mb=500)
    others = [
        _row("fat", ms=4.9),
        _row("wrong", f1=0.4, ms=1.0),
        _row("flawed", ms=1.0, defect="unusable: 12 Memcpy (K001)"),
        _row("failed", ms=1.0, failure="does not load"),
    ]
    rows = judged([FP32, BASE, *others, lean], "torch bf16", "torch fp32")
    assert [row.variant for row in fastest(rows)] == ["lean"]
    assert {row.variant: row.dominated_by for row in rows if row.sound}["fat"] == "lean"
    assert [row.variant for row in fastest(judged([FP32, BASE], "torch bf16", "torch fp32"))] == ["torch bf16"]
    assert fastest(judged([others[3]], "torch bf16", "torch fp32")) == []


def test_a_head_without_labels_hides_no_loss() -> None:
    """Its F1 is NaN, which is neither less nor more than anything."""
    nothing = HeadFigures(float("nan"), float("nan"))
    known = replace(FP32, heads={"a": nothing, "b": HeadFigures(0.9, 0.9)})
    wrong = _row(heads={"a": nothing, "b": HeadFigures(0.3, 0.3)})
    rows = judged([known, BASE, wrong], "torch bf16", "torch fp32")
    assert rows[2].result.startswith("accuracy collapse: b F1 0.90 → 0.30") and not rows[2].sound
    unlabelled = replace(FP32, heads={"a": nothing})
    other = _row(heads={"a": nothing}, agreement_with_reference=0.1)
    assert judged([unlabelled, BASE, other], "torch bf16", "torch fp32")[2].result.startswith("other answers")


def test_reference_and_baseline_have_their_names() -> None:
    assert judged([FP32, BASE], "torch bf16", "torch fp32")[1].result == "the baseline"
    alone = replace(FP32, memory_mb=500)
    assert judged([alone, BASE], "torch bf16", "torch fp32")[0].result == (
        "the reference, 2.0x slower than torch bf16 (95 % 1.96 … 2.04)"
    )


def _beside(name: str, ratio: float, low: float, high: float, **figures: object) -> BenchRow:
    """A row by the baseline's time, with an interval of its own."""
    measured = {"ratio": ratio, "ratio_low": low, "ratio_high": high, "round_ratios": (ratio,) * 5}
    return _row(name, ms=10 * ratio, **measured, **figures)


def _bench(*rows: BenchRow) -> tuple[BenchRow, ...]:
    base = replace(BASE, ratio=1.0, ratio_low=1.0, ratio_high=1.0, round_ratios=(1.0,) * 5)
    return judged([base, *rows], "torch bf16", "torch bf16")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (_beside("m", 0.78, 0.61, 1.10), "works, tied with torch bf16 in time (0.78 of it, 95 % 0.61 … 1.10)"),
        (_beside("m", 0.78, 0.61, 0.99), "faster than torch bf16 at the same F1 (1.3x, 95 % 1.01 … 1.64)"),
        (_beside("m", 2.0, 0.9, 4.0, memory_mb=500), "works, tied with torch bf16 in time (2.00 of it"),
        (_beside("m", 2.0, 1.2, 4.0, memory_mb=500), "works, 2.0x slower than torch bf16 (95 % 1.20 … 4.00)"),
        (_beside("m", 2.0, 0.9, 4.0), "works, tied with torch bf16 in time (2.00 of it"),
        (_beside("m", 2.0, 1.2, 4.0), "dominated by torch bf16: 2.0x slower (95 % 1.20 … 4.00)"),
        (_beside("m", 0.5, float("nan"), float("nan")), "works"),
        (_beside("m", 5.0, float("nan"), float("nan")), "works"),
    ],
)
def test_no_row_is_faster_or_slower_whose_interval_holds_1(row: BenchRow, expected: str) -> None:
    result = _bench(row)[1].result
    assert result.startswith(expected) and (expected != "works" or result == expected)


def test_a_loss_states_its_interval_and_one_that_holds_0_may_be_none() -> None:
    lost = replace(_row(), heads={"category": HeadFigures(0.92, 0.92, below=Interval(-0.01, -0.017, -0.004))})
    expected = "loses accuracy: category F1 0.9300 → 0.9200 (95 % -0.0170 … -0.0040)"
    assert _verdict(lost) == expected and not _judged(lost).sound
    unknown = replace(_row(), heads={"category": HeadFigures(0.90, 0.90, below=Interval(-0.03, -0.08, 0.02))})
    expected = "may lose accuracy: category F1 0.93 → 0.90 (95 % -0.0800 … +0.0200; more rows would tell)"
    assert _verdict(unknown) == expected and not _judged(unknown).sound


def test_the_fastest_are_all_that_are_tied() -> None:
    one, two = _beside("one", 0.50, 0.45, 0.58), _beside("two", 0.55, 0.50, 0.60)
    slow = _beside("slow", 0.8, 0.75, 0.85, memory_mb=500)
    tied = fastest(_bench(two, one, slow))
    assert [row.variant for row in tied] == ["one", "two"]
    assert which_is_fastest(tied) == "fastest sound variants, tied: one and two"
    apart = _bench(replace(two, ratio_low=0.59), one)
    assert which_is_fastest(fastest(apart)) == "fastest sound variant: one"
    assert "dominated by one" in apart[1].result
    single = [replace(row, ratio_low=float("nan"), ratio_high=float("nan")) for row in (one, two)]
    assert which_is_fastest(fastest(_bench(*single))).startswith(
        "sound variants, none known to be faster: one, two and"
    )

"""What became slower, larger or worse than in an earlier bench, from its results.parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnxfix.eval.bench.bench import BenchReport
from onnxfix.eval.figures.verdict import THRESHOLDS
from onnxfix.nouns.errors import OnnxfixError, arg, one_line

# Column → what it is called in a sentence.
SIZES = {"size_mb": "size", "memory_mb": "memory", "vram_mb": "VRAM"}


@dataclass(frozen=True)
class Regression:
    """One figure of one variant that is worse than before."""

    variant: str
    what: str
    before: float | None
    after: float | None
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"worse": True}


def regressions(report: BenchReport, earlier: Path, tolerance: float) -> list[Regression]:
    """Figures worse than in `earlier` by more than `tolerance` (0.1: 10 %), F1 by more than what counts as the same.

    Time is compared through the baseline variant where both benches have the same: its ratio is taken within one run,
    so that a slower machine is no regression, and the baseline's own time is not compared. The intervals of both must
    not overlap either, so that a bench of a single round, which has none, has no slower variant. A variant that worked
    and fails now, answers wrongly or is gone, is one. Raises OnnxfixError for a file that is no such result, or of
    another provider.
    """
    rows = read(earlier)
    check_alike(rows, report.method.provider, earlier)
    before, after = ({_key(row): row for row in each} for each in (rows, _now(report)))
    if not set(before) & set(after):
        raise OnnxfixError(f"{earlier} and this bench have no variant and batch in common", "name the right file")
    baseline = _same_baseline(rows, report)
    return [
        found
        for key, old in before.items()
        for found in _compare(old, after.get(key), report.heads, tolerance, baseline)
    ]


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a row is of. Where it does not say how batches were made, the workload does."""
    bucketed = row.get("batching") is None and "bucketed by length" in str(row.get("workload"))
    return row["variant"], row["batch"], row["length"], bucketed or row.get("batching") == "sorted"


def _compare(
    old: Mapping[str, Any], new: Mapping[str, Any] | None, heads: Sequence[str], tolerance: float, baseline: str
) -> Iterator[Regression]:
    """`baseline`: that of both; empty where they differ."""
    name = str(old["variant"])
    if old.get("failure") or old.get("ms_per_sample") is None:
        return
    if new is None or new.get("failure"):
        reason = f": {new['failure']}" if new else " in this bench"
        yield Regression(name, "failure", None, None, f"{name} worked and {'fails' if new else 'is not'}{reason}")
        return
    where = f" at {old['batch']} × {old['length']} tokens" if old["length"] else ""
    where += ", sorted" if old.get("batching") == "sorted" else ""
    if old.get("sound") and new.get("sound") is False:
        yield Regression(name, "answers", None, None, f"{name} was sound and is not: {new['result']}")
    if name != baseline:
        yield from _time(name, where, old, new, tolerance, bool(baseline))
    for column, word in SIZES.items():
        one, other = old.get(column), new.get(column)
        slack = THRESHOLDS.slack_mb if column != "size_mb" else 0.0
        if one and other and other > one * (1 + tolerance) and other > one + slack:
            yield Regression(name, word, one, other, f"{name}{where}: {word} {one:,.1f} → {other:,.1f} MB")
    scores = (name for name in old if name.startswith("f1_") and not name.endswith(("_low", "_high")))
    for head in sorted({*heads, *(name.removeprefix("f1_") for name in scores)}):
        one, other = old.get(f"f1_{head}"), new.get(f"f1_{head}")
        if one is not None and other is None and old.get("main"):
            yield Regression(name, f"{head} F1", one, None, f"{name}: {head} F1 {one:.4f} → not measured")
        if one is not None and other is not None and other < one - THRESHOLDS.same_f1:
            yield Regression(name, f"{head} F1", one, other, f"{name}: {head} F1 {one:.4f} → {other:.4f}")


def _time(
    name: str, where: str, old: Mapping[str, Any], new: Mapping[str, Any], tolerance: float, by_ratio: bool
) -> Iterator[Regression]:
    column, ends, unit = (
        ("ratio", "ratio", "× the baseline's time") if by_ratio and old.get("ratio") else
        ("ms_per_sample", "ms", "ms/sample")
    )  # fmt: skip
    one, other, low, high = old.get(column), new.get(column), new.get(f"{ends}_low"), new.get(f"{ends}_high")
    before = old.get(f"{ends}_high") or one
    if one and other and low and other > one * (1 + tolerance) and low > before:
        sure = f"{other / one - 1:+.0%}; 95 % {low:.2f} … {high or other:.2f}"
        yield Regression(name, "time", one, other, f"{name}{where}: {one:.2f} → {other:.2f} {unit} ({sure})")


def _same_baseline(rows: Sequence[Mapping[str, Any]], report: BenchReport) -> str:
    """The baseline of both benches, empty where they differ: its own ratio is 1 in each round."""
    then = next((r["variant"] for r in rows if r.get("main") and r.get("ratio") == 1.0 == r.get("ratio_high")), "")
    return then if then == report.method.baseline else ""


def _now(report: BenchReport) -> list[dict[str, Any]]:
    from .files import frame

    return frame(report).to_dicts()


def check_alike(rows: Sequence[Mapping[str, Any]], provider: str, earlier: Path) -> None:
    """Raises OnnxfixError for rows of another provider."""
    then = rows[0].get("provider", provider)
    if then != provider:
        raise OnnxfixError(
            f"{earlier} was measured on {then}, this bench runs on {provider}", f"choose with {arg('provider')}"
        )


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of an earlier bench. Raises OnnxfixError for a file that holds none."""
    import polars as pl

    if not path.is_file():
        raise OnnxfixError(f"{path} does not exist", "name the results.parquet of an earlier bench")
    try:
        found = pl.read_parquet(path).to_dicts()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise OnnxfixError(
            f"{path} cannot be read: {one_line(error)}", "name the results.parquet of a bench"
        ) from error
    if not found or not {"variant", "batch", "length", "ms_per_sample"} <= set(found[0]):
        raise OnnxfixError(f"{path} is no result of this version's bench", "name the results.parquet of a bench")
    return found

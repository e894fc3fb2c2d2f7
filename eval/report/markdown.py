"""A bench as Markdown: the main table, more figures, the sweep, classes, and how it was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from onnxfix.eval.figures.row import BenchRow
from onnxfix.eval.figures.verdict import THRESHOLDS
from onnxfix.nouns.runtime.provider import named

if TYPE_CHECKING:
    from onnxfix.eval.bench.bench import BenchReport

NOTHING = "-"
TEXT = ("variant", "exporter", "result", "verified", "note", "made by", "class", "operator", "torch module", "provider")


def headings(report: BenchReport) -> list[str]:
    """Column titles of the main table."""
    known = any(not math.isnan(row.vram_mb) for row in report.rows)
    memory = "VRAM MB" if named(report.method.provider).device and known else "memory MB"
    return ["variant", "exporter", "size MB", "ms/sample", memory, *(f"{h} F1" for h in report.heads), "result"]


def cells(row: BenchRow, heads: list[str]) -> list[str]:
    """One row of the main table as text."""
    f1 = [row.heads[head].f1 if head in row.heads else math.nan for head in heads]
    figures = [_number(row.size_mb, 1), _number(row.ms_per_sample, 2), _number(row.main_memory_mb, 0)]
    scores = [_number(score, 4) for score in f1]
    if row.failure:
        figures[1:], scores = ["err"] * 2, ["err"] * len(heads)
    return [row.variant, row.exporter or NOTHING, *figures, *scores, row.result]


def answer(report: BenchReport) -> str:
    """Which variant to deploy, in a sentence."""
    best, baseline = report.best, report.method.baseline
    if best is None:
        return "No variant can be deployed: each failed, has a defect or gives other answers"
    said = f"Fastest sound variant: {best.variant}"
    if best.variant == baseline or math.isnan(best.ratio):
        return said
    between = f" ({_interval(best.ratio_low, best.ratio_high, 2)})" if not math.isnan(best.ratio_low) else ""
    return f"{said}, {best.ratio:.2f}{between} times the time of {baseline}"


def markdown(report: BenchReport) -> str:
    """The whole report."""
    main = [headings(report), *(cells(row, report.heads) for row in report.rows)]
    parts = ["# Bench", f"{answer(report)}.", _table(main)]
    if report.regressions is not None:
        worse = [str(r["sentence"]) for r in report.regressions] or ["nothing"]
        parts += ["## Worse than last time", "\n".join(f"- {sentence}" for sentence in worse)]
    if len(report.method.points) > 1:
        parts += ["## By batch size and length", "Milliseconds a sample.", _table(sweep(report))]
    parts += ["## More figures", _table(_times(report)), _table(_answers(report))]
    for head in report.classes:
        parts += [f"## F1 by class of {head}", _table(_classes(report, head))]
    for variant, found in report.profiles.items():
        parts += [f"## Where the time of {variant} goes", *_profile(found)]
    made = [["variant", "made by", "verified", "note"]]
    made += [[r.variant, *(text or NOTHING for text in (r.made_by, r.verified, r.note))] for r in report.rows]
    parts += ["## How the files were made", _table(made)]
    parts += ["## How it was measured", "\n".join(f"- {line}" for line in method(report))]
    parts += ["## Machine", "\n".join(f"- {name}: {value}" for name, value in report.machine.items())]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in report.notes)]
    return "\n\n".join(parts) + "\n"


def _times(report: BenchReport) -> list[list[str]]:
    found = [["variant", "95 % of median", "p95 ms", "p99 ms", "samples/s", "× baseline", "95 %", "J/sample", "load s"]]
    for row in report.rows:
        interval, ratios = _interval(row.ms_low, row.ms_high, 2), _interval(row.ratio_low, row.ratio_high, 2)
        figures = [_number(row.ms_p95, 2), _number(row.ms_p99, 2), _number(row.samples_per_s, 1), _number(row.ratio, 2)]
        tail = [_number(row.joules_per_sample, 3), _number(row.load_s, 2)]
        found.append([row.variant, interval, *figures, ratios, *tail])
    return found


def _answers(report: BenchReport) -> list[list[str]]:
    own = list(dict.fromkeys(name for row in report.rows for name in row.metrics))
    titles = [*(f"{head} F1 − baseline's, 95 %" for head in report.heads), *own]
    found = [["variant", "agreement", "rel. L2", "max abs", "KL", *titles]]
    for row in report.rows:
        agreement = NOTHING if math.isnan(row.agreement) else f"{row.agreement:.2%}"
        logits = [_power(x) for x in (row.rel_l2_logits, row.max_abs_logits, row.kl_logits)]
        heads = [row.heads.get(head) for head in report.heads]
        intervals = [_interval(h.low, h.high, 4, signed=True) if h else NOTHING for h in heads]
        found.append([row.variant, agreement, *logits, *intervals, *(_number(row.metrics.get(n), 4) for n in own)])
    return found


def sweep(report: BenchReport) -> list[list[str]]:
    """Milliseconds a sample at every batch size and length, under a row of titles."""
    points = report.method.points
    found = {(p.variant, p.batch, p.length): p for p in report.points}
    rows = [["variant", *map(str, points)]]
    for row in report.rows:
        times = [found.get((row.variant, p.batch, p.length)) for p in points]
        rows.append([row.variant, *("err" if t is None or t.failure else _number(t.ms_per_sample, 2) for t in times)])
    return rows


def _classes(report: BenchReport, head: str) -> list[list[str]]:
    names = [row.variant for row in report.rows if head in row.heads]
    rows = [["class", "rows", *names]]
    for entry in report.classes[head]:
        rows.append([str(entry["class"]), str(entry["rows"]), *(_number(entry["f1"].get(n), 3) for n in names)])
    return rows


def profile_line(found: Mapping[str, Any]) -> str:
    """A profile in one line: the time of a batch, the least that this machine's peak rates allow, and the rates."""
    roof = found["roofline"]
    rates = f"{roof['gflops']:,.0f} GFLOP/s, {roof['gbs']:,.1f} GB/s"
    note = f" ({found['note']})" if found.get("note") else ""
    return f"{found['untraced_ms']:.1f} ms a batch, {_number(roof['gap'], 1)} times the bound at {rates}{note}"


def _profile(found: Mapping[str, Any]) -> list[str]:
    if "by" not in found:
        return [f"Not profiled: {found.get('failure')}"]
    parts = [profile_line(found) + "."]
    for key, title in (("op_type", "operator"), ("scope", "torch module"), ("provider", "provider")):
        rows = [[title, "ms", "share", "nodes"]]
        rows += [
            [r["name"] or NOTHING, f"{r['ms']:.2f}", f"{r['share']:.1%}", str(r["count"])] for r in found["by"][key]
        ]
        parts.append(_table(rows))
    return parts


def method(report: BenchReport) -> list[str]:
    """How it was measured, in sentences."""
    m, t = report.method, THRESHOLDS
    threads = f"{m.threads} CPU threads" if m.threads else "each runtime's own number of CPU threads"
    where = "from arrays on the host to arrays on the host"
    device = named(m.provider).device
    if device:
        where = "inputs and outputs on the device, until it has finished"
    first = m.points[0] if m.points else None
    timed = "batches spread over the workload"
    if first and first.length:
        timed = f"batches of {first}, made of the rows one behind the other"
    return [
        f"Workload: {m.workload}; batches of {m.batch_size} in data order, padded to the longest row of each.",
        f"Provider {m.provider}, {threads}. Every variant runs in a process of its own.",
        f"Time: {m.rounds} rounds over {m.timed_batches} {timed}, the variants in turn, their order rotated each "
        "round, one untimed batch before each turn, after a warm-up. ms/sample is the median (p95, p99: percentiles) "
        f"over batches and rounds of a batch's time by its rows, {where}. samples/s: all rows by the time of all.",
        f"At most {m.at_once} variants are loaded at once, with {m.baseline} beside each such group: × baseline is the "
        "median of the time by the baseline's on the same batch of the same round, and verdicts compare these. Times "
        "are these ratios times the baseline's own median over all groups, so that groups can be compared. "
        "Intervals are 95 % bootstrap intervals; rounds are drawn first, then batches within each.",
        *(
            ["In fp32 ONNX Runtime multiplies in TF32 on GPUs that have it, and torch does not unless it is told to."]
            if device
            else []
        ),
        "Load: from a process with its runtime imported to a model ready to run; for torch that includes the import of "
        "the model's own code.",
        "Memory: of the variant alone, with the batches timed first, peak beyond the same process with the runtime "
        "imported and no model loaded; VRAM: what the device holds more than before the load. MB are 1,000,000 bytes; "
        "the size of a torch row is that of its weights.",
        f"Agreement: rows with the same class as {m.baseline} in every head. rel. L2, max abs and KL (of the classes' "
        f"probabilities, nats): the worst output over all rows against {m.reference}. F1: macro over the classes "
        "present in labels or predictions; intervals of differences are of the same rows drawn for both.",
        f"Verdicts: F1 within {t.same_f1} is the same, a loss beyond {t.collapse_f1} a collapse; faster means below "
        f"{t.clear_ratio:.0%} of the time and in {t.clear_rounds:.0%} of the rounds, leaner below "
        f"{t.clear_bytes:.0%} of the memory; dominated means not better in time, memory, size or F1, and clearly worse "
        "in time or memory.",
    ]


def _table(rows: list[list[str]]) -> str:
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    rule = ["---" if title in TEXT else "---:" for title in rows[0]]
    return "\n".join("| " + " | ".join(row) + " |" for row in [escaped[0], rule, *escaped[1:]])


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _power(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.2e}"


def _interval(low: float, high: float, digits: int, *, signed: bool = False) -> str:
    if math.isnan(low) or math.isnan(high):
        return NOTHING
    form = f"{'+' if signed else ''}.{digits}f"
    return f"{low:{form}} … {high:{form}}"

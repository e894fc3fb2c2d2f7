"""A bench as Markdown: the main table, more figures, the sweep, classes, and how it was measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onnxfix.eval.figures.pace import is_tied
from onnxfix.eval.figures.verdict import THRESHOLDS, which_is_fastest
from onnxfix.nouns.runtime.provider import named
from onnxfix.render.markdown import table
from onnxfix.render.table import Table

from . import contents

if TYPE_CHECKING:
    from onnxfix.eval.bench.bench import BenchReport
    from onnxfix.eval.figures.row import BenchRow


def answer(report: BenchReport) -> str:
    """Which variant to deploy, in a sentence, or which are tied."""
    ways = report.by_batching
    if len(ways) > 1:
        return "; ".join(f"{way}: {_answer(found, report)}" for way, found in ways.items())
    said = _answer(report.fastest, report)
    return said[0].upper() + said[1:]


def _answer(found: Sequence[BenchRow], report: BenchReport) -> str:
    """Of rows of one way of batching."""
    baseline = report.method.baseline
    if not found:
        return "no variant can be deployed: each failed, has a defect or gives other answers"
    said, first = which_is_fastest(found), found[0]
    if first.variant == baseline or math.isnan(first.ratio):
        return said
    times = first.by_baseline
    between = f" ({times.low:.2f} … {times.high:.2f})" if not math.isnan(times.low) else ""
    tied = ", a tie" if is_tied(times) else ""
    name = f"; {first.variant} takes" if len(found) > 1 else ","
    return f"{said}{name} {times.value:.2f}{between} times the time of {baseline}{tied}"


def markdown(report: BenchReport) -> str:
    """The whole report."""
    document = report.as_dict()
    parts = ["# Bench", f"{answer(report)}.", table(contents.brief(document))]
    if report.regressions is not None:
        worse = [str(r["sentence"]) for r in report.regressions] or ["nothing"]
        parts += ["## Worse than last time", _listed(worse)]
    if len(report.method.points) > 1:
        parts += ["## By batch size and length", "Milliseconds a sample.", table(contents.sweep(document))]
    parts += [*_part(contents.intervals(document)), *_part(contents.figures(document))]
    for shown in contents.classes(document):
        parts += [f"## F1 by class of {shown.title}", table(shown)]
    for variant, found in report.profiles.items():
        parts += [f"## Where the time of {variant} goes", *_profile(found)]
    parts += [*_part(contents.how_made(document)), "## How it was measured", _listed(method(report))]
    parts += _part(contents.machine(document))
    notes = [*report.notes, *(f"{row.variant}: {row.note}" for row in report.rows if row.note)]
    if notes:
        parts += ["## Notes", _listed(notes)]
    return "\n\n".join(parts) + "\n"


def _part(shown: Table) -> list[str]:
    return [f"## {shown.title}", table(shown)] if shown.lines else []


def _listed(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _profile(found: Mapping[str, Any]) -> list[str]:
    if "by" not in found:
        return [f"Not profiled: {found.get('failure')}"]
    return [contents.profile_line(found) + ".", *(table(contents.shares(found, key)) for key in contents.SHARES)]


def _order(ways: Sequence[str]) -> str:
    if list(ways) == ["sorted"]:
        return "of rows sorted by length, padded to the longest row of each"
    if len(ways) > 1:
        return (
            "in data order, padded to the longest row of each, and of the same rows sorted by length before. Verdicts, "
            "ratios and the fastest are among rows of one such way, the baseline's too; answers and memory are of data "
            "order"
        )
    return "in data order, padded to the longest row of each"


def _figure(ways: Sequence[str]) -> str:
    if len(ways) > 1:
        return "ms/sample is the median over rounds of the time of all batches by their rows, p95 and p99 that of one's"
    return "ms/sample is the median (p95, p99: percentiles) over batches and rounds of a batch's time by its rows"


def method(report: BenchReport) -> list[str]:
    """How it was measured, in sentences."""
    m, t = report.method, THRESHOLDS
    threads = f"{m.threads} CPU threads" if m.threads else "each runtime's own number of CPU threads"
    where = "from arrays on the host to arrays on the host"
    device = named(m.provider).device
    if device:
        where = "inputs and outputs on the device, until it has finished"
    batch = "batches" if len(m.batchings) > 1 else "batch"
    first = m.points[0] if m.points else None
    timed = "batches spread over the workload"
    if first and first.length:
        timed = f"batches of {first}, made of the rows one behind the other"
    return [
        f"Workload: {m.workload}; batches of {m.batch_size} {_order(m.batchings)}.",
        f"Provider {m.provider}, {threads}. Every variant runs in a process of its own.",
        f"Time: {m.rounds} rounds over {m.timed_batches} {timed}, the variants in turn, their order rotated each "
        f"round, one untimed batch before each turn, after a warm-up. {_figure(m.batchings)}, {where}. samples/s: all "
        "rows by the time of all.",
        f"At most {m.at_once} variants are loaded at once, with {m.baseline} beside each such group: × baseline is the "
        f"median of the time by the baseline's on the same {batch} of the same round, and verdicts compare these. "
        "Times are these ratios times the baseline's own median over all groups, so that groups can be compared. "
        "Intervals are 95 % bootstrap intervals; rounds are drawn first, then batches within each, and those of times "
        "are widened for few rounds as Student's t is.",
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
        f"{t.clear_ratio:.0%} of the time, with an interval that ends below 1, and in {t.clear_rounds:.0%} of the "
        "rounds; two are tied in time when the interval of one by the other holds 1 (of two by the baseline, the ends "
        "of one by the opposite ends of the other); leaner below "
        f"{t.clear_bytes:.0%} of the memory; dominated means not better in time, memory, size or F1, and clearly worse "
        "in time or memory.",
    ]

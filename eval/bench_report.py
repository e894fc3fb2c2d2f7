"""Write a bench: a table for the terminal, and summary.json, results.parquet and REPORT.md that say the same."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix.errors import OnnxfixError
from onnxfix.model import staged

from .bench_row import BenchRow
from .verdict import THRESHOLDS

if TYPE_CHECKING:
    from rich.table import Table

    from .bench import BenchReport

# REPORT.md last: who sees it finds the other two.
FILES = ("results.parquet", "summary.json", "REPORT.md")
NOTHING = "-"


def write_report(report: BenchReport, folder: Path) -> list[Path]:
    """Write the three files into `folder`, made when absent; each is replaced whole. Raises OnnxfixError."""
    import polars as pl

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OnnxfixError(f"cannot make {folder}: {error.strerror}", "name another folder with -o") from error
    with staged(folder) as stage:
        rows = [row.as_dict() for row in report.rows]
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(stage / "results.parquet")
        summary = json.dumps(report.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        (stage / "summary.json").write_text(summary + "\n", encoding="utf-8")
        (stage / "REPORT.md").write_text(markdown(report), encoding="utf-8")
        for name in FILES:
            (stage / name).replace(folder / name)
    return [folder / name for name in FILES]


def table(report: BenchReport) -> Table:
    """The main figures for a terminal of 100 columns or more."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for title in headings(report):
        text = title in ("variant", "exporter", "result")
        drawn.add_column(title, justify="left" if text else "right", overflow="fold", ratio=None, no_wrap=not text)
    for row in report.rows:
        style = "red" if row.failure else "bold" if row.result.startswith("faster") else None
        drawn.add_row(*(escape(cell) for cell in cells(row, report.heads)), style=style)
    return drawn


def headings(report: BenchReport) -> list[str]:
    """Column titles of the main table."""
    memory = "VRAM MB" if report.method.provider == "cuda" else "memory MB"
    return ["variant", "exporter", "size MB", "ms/sample", memory, *(f"{h} F1" for h in report.heads), "result"]


def cells(row: BenchRow, heads: list[str]) -> list[str]:
    """One row of the main table as text."""
    f1 = [row.heads[head].f1 if head in row.heads else math.nan for head in heads]
    figures = [_number(row.size_mb, 1), _number(row.ms_per_sample, 2), _number(row.main_memory_mb, 0)]
    scores = [_number(score, 4) for score in f1]
    if row.failure:
        figures[1:], scores = ["err"] * 2, ["err"] * len(heads)
    return [row.variant, row.exporter or NOTHING, *figures, *scores, row.result]


def markdown(report: BenchReport) -> str:
    """The whole report as Markdown."""
    main = [headings(report), *(cells(row, report.heads) for row in report.rows)]
    detail_titles = ["variant", "p95 ms", "samples/s", "load s", "agreement", "rel. L2", "max abs", "verified", "note"]
    detail = [detail_titles, *(_detail(row) for row in report.rows)]
    parts = [
        "# Bench",
        _markdown_table(main),
        "## More figures",
        _markdown_table(detail),
        "## How it was measured",
        _method(report),
        "## Machine",
        "\n".join(f"- {name}: {value}" for name, value in report.machine.items()),
    ]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in report.notes)]
    return "\n\n".join(parts) + "\n"


def _detail(row: BenchRow) -> list[str]:
    agreement = NOTHING if math.isnan(row.agreement) else f"{row.agreement:.2%}"
    return [
        row.variant,
        _number(row.ms_p95, 2),
        _number(row.samples_per_s, 1),
        _number(row.load_s, 2),
        agreement,
        NOTHING if math.isnan(row.rel_l2_logits) else f"{row.rel_l2_logits:.2e}",
        NOTHING if math.isnan(row.max_abs_logits) else f"{row.max_abs_logits:.2e}",
        row.verified or NOTHING,
        row.note or NOTHING,
    ]


def _method(report: BenchReport) -> str:
    m, t = report.method, THRESHOLDS
    threads = f"{m.threads} CPU threads" if m.threads else "each runtime's own number of CPU threads"
    lines = [
        f"Workload: {m.workload}; batches of {m.batch_size} in data order, padded to the longest row of each.",
        f"Provider {m.provider}, {threads}. Every variant runs in a process of its own.",
        f"Time: {m.rounds} rounds over {m.timed_batches} batches spread over the workload, the variants in turn, their "
        "order rotated each round, one untimed batch before each turn. ms/sample is the median (p95: 95th percentile) "
        "over batches and rounds of a batch's time by its rows, from arrays on the host to arrays on the host.",
        "Load: from a process with its runtime imported to a model ready to run; for torch that includes the import of "
        "the model's own code.",
        "Memory: peak beyond the same process with the runtime imported and no model loaded; VRAM: what the device "
        "holds more than before the load. MB are 1,000,000 bytes; the size of a torch row is that of its weights.",
        f"Agreement: rows with the same class as {m.baseline} in every head. rel. L2 and max abs: the worst output "
        f"over all rows against {m.reference}. F1: macro over the classes present in labels or predictions.",
        f"Verdicts: F1 within {t.same_f1} is the same, a loss beyond {t.collapse_f1} a collapse; faster means below "
        f"{t.clear_ratio:.0%} of the time and in {t.clear_rounds:.0%} of the rounds, leaner below "
        f"{t.clear_bytes:.0%} of the memory; dominated means not better in time, memory, size or F1, and clearly worse "
        "in time or memory.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _markdown_table(rows: list[list[str]]) -> str:
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    text = ("variant", "exporter", "result", "verified", "note")
    rule = ["---" if title in text else "---:" for title in rows[0]]
    return "\n".join("| " + " | ".join(row) + " |" for row in [escaped[0], rule, *escaped[1:]])


def _number(value: float, digits: int) -> str:
    return NOTHING if not math.isfinite(value) else f"{value:.{digits}f}"
